"""``baton experiment``: pipelines from data, and which of them is best."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from client.cli.common import Command, Group, Options, err, out, print_document, show_rows, table
from client.cli.model import EXPERIMENTS, read_rows

if TYPE_CHECKING:
    import experiments
    from experiments import Spread

MS = 1000
# Columns of a terminal that hold every metric.
WIDE = 130


@click.group(cls=Group, name="experiment")
def group() -> None:
    """Experiments: pipelines trained on data, and their leaderboard."""


@group.command(cls=Command)
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV or Parquet: a row for each example, and its target.",
)
@click.option("--target", required=True, help="The column to predict.")
@click.option(
    "--task",
    type=click.Choice(["auto", "classification", "regression"]),
    default="auto",
    show_default=True,
    help="auto: text, truth values and at most 10 distinct whole numbers are classes.",
)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True)
@click.option("--name", help="The experiment's name; by default the file's, numbered.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--metric", help="What ranks; by default roc_auc or rmse.")
@click.option(
    "--leave-out", multiple=True, metavar="COLUMN", help="No feature. May be given several times."
)
@click.pass_obj
def run(
    options: Options,
    /,
    *,
    data: Path,
    target: str,
    task: str,
    name: str | None,
    **plan: Any,  # noqa: ANN401
) -> None:
    """Train pipelines on the rows of a file, and rank them by cross-validation.

    Example: baton experiment run --data train.csv --target churned --name churn
    """
    # scikit-learn takes a second to import: only where it is needed.
    import experiments  # noqa: PLC0415

    chosen = experiments.Plan(
        name or _unused(data.stem),
        target,
        "classification" if task == "classification" else "regression" if task == "regression"
        else None,
        data=str(data),
        **plan,
    )  # fmt: skip
    with _bar(options) as moved:
        done = experiments.run(read_rows(data), chosen, EXPERIMENTS, moved)
    _show(options, done)


@group.command(cls=Command, name="list")
@click.pass_obj
def list_(options: Options) -> None:
    """List the experiments, the newest first.

    Example: baton experiment list
    """
    import experiments  # noqa: PLC0415 - slow to import

    documents = []
    for found in experiments.experiments(EXPERIMENTS):
        best = found.leaderboard()[0]
        documents.append(
            {
                "name": found.name,
                "task": found.task,
                "target": found.target,
                "rows": found.rows,
                "pipelines": sum(pipeline.error is None for pipeline in found.pipelines),
                "best": f"{best.number} {best.algorithm}",
                "ranked_by": found.ranked_by,
                "score": round(best.metrics[found.ranked_by].mean, 4),
                "created_at": found.created_at,
            }
        )
    columns = ("name", "task", "target", "rows", "pipelines", "best", "ranked_by", "score")
    show_rows(options, documents, (*columns, "created_at"))


@group.command(cls=Command)
@click.argument("experiment", metavar="EXPERIMENT")
@click.pass_obj
def show(options: Options, experiment: str) -> None:
    """Show an experiment's leaderboard.

    Example: baton experiment show churn
    """
    import experiments  # noqa: PLC0415 - slow to import

    _show(options, experiments.load(EXPERIMENTS, experiment))


@contextmanager
def _bar(options: Options) -> Iterator[Callable[["experiments.Progress"], None]]:
    shown = err.is_terminal and not options.as_json
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=err, transient=True, disable=not shown
    ) as bar:
        task = bar.add_task("reading", total=None)

        def moved(progress: "experiments.Progress") -> None:
            text = escape(progress.algorithm or "writing")
            bar.update(task, completed=progress.done, total=progress.total, description=text)

        yield moved


def _show(options: Options, found: "experiments.Experiment") -> None:
    from experiments.experiment import PAGE  # noqa: PLC0415 - slow to import

    page = EXPERIMENTS / found.name / PAGE
    if options.as_json:
        print_document(found.model_dump(mode="json") | {"page": str(page)})
        return
    out.print(
        f"[bold]{escape(found.name)}[/]: {found.task} of {escape(found.target)}, "
        f"{found.rows} rows, {len(found.input_schema.fields)} features, {found.folds} folds, "
        f"seed {found.seed}, {found.seconds:.1f} s",
        soft_wrap=True,
    )
    for note in found.notes:
        out.print(f"[dim]{escape(note)}[/]", soft_wrap=True)
    best = found.leaderboard()[0]
    # What ranks stands first; the others where there is room.
    others = [name for name in best.metrics if name != found.ranked_by and out.width >= WIDE]
    names = [found.ranked_by, *others]
    grid = table("rank", "pipeline", "algorithm", *names, "fit ms", "predict ms")
    grid.columns[2].no_wrap = True
    for pipeline in found.leaderboard():
        if pipeline.fit_s is None or pipeline.predict_s is None:
            grid.add_row("", str(pipeline.number), escape(pipeline.algorithm), "[red]failed[/]")
            continue
        grid.add_row(
            str(pipeline.rank),
            str(pipeline.number),
            escape(pipeline.algorithm),
            *(_spread(pipeline.metrics[name]) for name in names),
            f"{pipeline.fit_s.mean * MS:.1f}",
            f"{pipeline.predict_s.mean * MS:.1f}",
        )
    out.print(grid)
    for pipeline in found.pipelines:
        for warning in (*pipeline.warnings, *filter(None, [pipeline.error])):
            text = escape(f"pipeline {pipeline.number}, {pipeline.algorithm}: {warning}")
            out.print(f"[yellow]{text}[/]", soft_wrap=True)
    more = "" if len(names) == len(best.metrics) else " (others: --json, or a wider terminal)"
    out.print(f"ranked by {found.ranked_by}{more}; page: {escape(str(page))}", soft_wrap=True)
    out.print(
        f"next: baton model save --experiment {found.name} --pipeline {best.number}", soft_wrap=True
    )


def _spread(measured: "Spread") -> str:
    """Return a mean with its standard deviation over the folds."""
    return f"{measured.mean:.4g} ± {measured.std:.2g}"


def _unused(stem: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", stem).lstrip("._-")[:100] or "experiment"
    number = 1
    while (EXPERIMENTS / f"{plain}-{number}").exists():
        number += 1
    return f"{plain}-{number}"
