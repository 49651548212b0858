"""``baton model``: trained estimators to manifests, and what is known of them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from artifacts import library
from artifacts.store import Store
from client.cli.common import HOME, Command, Group, Options, out, print_document, show_rows, table
from schemas.errors import BatonError
from schemas.manifest import Manifest
from transport.settings import DEFAULT_STORE, roots

if TYPE_CHECKING:
    import pandas as pd

MODELS = HOME / "models"
EXPERIMENTS = HOME / "experiments"

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SAMPLE = "CSV or Parquet with rows of the model's input"


@click.group(cls=Group, name="model")
def group() -> None:
    """Models: saved files with everything that is known about them."""


@group.command(cls=Command)
@click.argument("file", required=False, type=FILE)
@click.option("--experiment", help="Instead of FILE: save a pipeline of this experiment.")
@click.option("--pipeline", type=click.IntRange(1), help="Which one; by default the best.")
@click.option("--sample", type=FILE, help=f"{SAMPLE}: its schema comes from them. With FILE.")
@click.option("--name", help="By default EXPERIMENT-PIPELINE. Needed with FILE.")
@click.option("--description")
@click.option("--tag", "tags", multiple=True, help="May be given several times.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME=VALUE", help="With FILE.")
@click.option("--project", "project_id", help="The project that the model belongs to.")
@click.option("--target", help="A column of the sample that is no input, and is left out.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the manifest goes; by default .baton/models/NAME.json.",
)
@click.pass_obj
def save(  # noqa: PLR0913 - an option each
    options: Options,
    /,
    *,
    file: Path | None,
    experiment: str | None,
    pipeline: int | None,
    sample: Path | None,
    name: str | None,
    metrics: tuple[str, ...],
    target: str | None,
    output: Path | None,
    **more: Any,  # noqa: ANN401 - options that a manifest takes as they are
) -> None:
    """Save FILE (an estimator written by joblib.dump), or a pipeline of an experiment, as a model.

    A file is loaded here, which runs its code: save only what you trust.

    Example: baton model save --experiment churn --pipeline 8 --name churn-1 --tag weekly

    Example: baton model save model.joblib --sample rows.csv --name fraud-1 --metric auc=0.97
    """
    if (file is None) is (experiment is None):
        raise click.UsageError("give either a FILE or --experiment")
    if file is None:
        _needless({"--sample": sample, "--metric": metrics, "--target": target}, "--experiment")
        manifest = _save_pipeline(str(experiment), pipeline, name, more)
    else:
        _needless({"--pipeline": pipeline}, "a FILE")
        if sample is None or name is None:
            missing = "--sample" if sample is None else "--name"
            raise click.UsageError(f"a FILE needs {missing}")
        # scikit-learn takes a second to import: only where it is needed.
        from artifacts.save import save_model_file  # noqa: PLC0415

        found = dict(_metric(text) for text in metrics)
        rows = _rows(sample, target)
        manifest = save_model_file(file, rows, store=store(), name=name, metrics=found, **more)
    _saved(options, manifest, output)


def _save_pipeline(
    named: str, number: int | None, name: str | None, more: dict[str, Any]
) -> Manifest:
    import experiments  # noqa: PLC0415 - slow to import

    experiment = experiments.load(EXPERIMENTS, named)
    chosen = number or experiment.leaderboard()[0].number
    return experiments.save_pipeline(
        EXPERIMENTS, experiment, chosen, store=store(), name=name, **more
    )


@group.command(cls=Command, name="import")
@click.argument("source", metavar="PATH")
@click.option("--name", help="By default the file's, the folder's or the registered model's.")
@click.option("--sample", type=FILE, help=f"{SAMPLE}, where no signature tells its schema.")
@click.option("--target", help="A column of the sample that is no input, and is left out.")
@click.option("--trust", multiple=True, metavar="TYPE", help="A type in a skops file to load.")
@click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    metavar="URL",
    help="The MLflow server that knows models:/NAME/VERSION. Its credentials come from "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
)
@click.option("--description")
@click.option("--tag", "tags", multiple=True, help="May be given several times.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME=VALUE")
@click.option("--project", "project_id", help="The project that the model belongs to.")
@click.pass_obj
def import_(  # noqa: PLR0913 - an option each
    options: Options,
    /,
    *,
    source: str,
    name: str | None,
    sample: Path | None,
    target: str | None,
    trust: tuple[str, ...],
    tracking_uri: str | None,
    metrics: tuple[str, ...],
    **more: Any,  # noqa: ANN401 - options that a manifest takes as they are
) -> None:
    """Import PATH, a model made elsewhere: a joblib, pickle or .skops file, or MLflow's folder.

    models:/NAME/VERSION and models:/NAME@ALIAS come from an MLflow registry. All but skops files
    run code while they are loaded: import only what you trust.

    Example: baton model import mlruns/1/models/m-7f0c/artifacts --name churn-1

    Example: baton model import churn.skops --sample rows.csv
    """
    from artifacts.imports import import_model, import_registered  # noqa: PLC0415 - slow to import
    from artifacts.tracking import tracking_server  # noqa: PLC0415 - slow to import

    rows = None if sample is None else _rows(sample, target)
    found = dict(_metric(text) for text in metrics)
    if source.startswith("models:/"):
        if tracking_uri is None:
            raise click.UsageError(f"{source} needs --tracking-uri, or MLFLOW_TRACKING_URI")
        manifest = import_registered(
            tracking_server(tracking_uri, os.environ), source, rows, store=store(), name=name,
            trusted=trust, metrics=found, **more,
        )  # fmt: skip
    else:
        path = Path(source)
        if not path.exists():
            raise click.BadParameter(f"there is no file or folder {source}", param_hint="PATH")
        manifest = import_model(
            path, rows, store=store(), name=name or path.resolve().stem, trusted=trust,
            metrics=found, **more,
        )  # fmt: skip
    _saved(options, manifest, None)


@group.command(cls=Command, name="list")
@click.pass_obj
def list_(options: Options) -> None:
    """List the models that were saved here.

    Example: baton model list
    """
    found = library.manifests(MODELS)
    if options.as_json:
        print_document([_document(manifest) for manifest in found])
        return
    rows = [
        {
            "name": manifest.name,
            "answers": described_output(manifest),
            "fields": len(manifest.input_schema.fields) if manifest.input_schema else None,
            "metrics": ", ".join(f"{name} {value:.4g}" for name, value in manifest.metrics.items()),
            "tags": ", ".join(manifest.tags),
            "bytes": manifest.size,
        }
        for manifest in found
    ]
    show_rows(options, rows, ("name", "answers", "fields", "metrics", "tags", "bytes"))


@group.command(cls=Command)
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.pass_obj
def show(options: Options, model: Path) -> None:
    """Show what is known of MODEL (its name, or a manifest file).

    Example: baton model show churn-8
    """
    found = read_manifest(model)
    if options.as_json:
        print_document(_document(found))
        return
    facts = {
        "description": found.description,
        "tags": ", ".join(found.tags),
        "project": found.project_id,
        "framework": f"{found.framework.name} {found.framework.version}",
        "file": f"{found.uri} ({found.size} bytes)",
        "sha256": found.sha256,
        "output": described_output(found),
    }
    out.print(f"[bold]{escape(found.name)}[/]")
    for name, text in facts.items():
        if text:
            out.print(f"  {name:11} {escape(text)}", soft_wrap=True)
    for name, value in found.metrics.items():
        out.print(f"  {escape(name)} = {value:g}")
    out.print(_fields(found))


def read_rows(path: Path) -> "pd.DataFrame":
    """Read a CSV or Parquet file. Raises BatonError where it is neither."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise BatonError(f"cannot read {path} as CSV or Parquet: {error}") from error


def read_manifest(model: Path) -> Manifest:
    """Return the manifest in the file ``model``, or of the model saved under that name."""
    return library.read_manifest(model, MODELS)


def store() -> Store:
    """Return the model store of BATON_STORE, by default the one in this folder."""
    return Store(roots(os.environ.get("BATON_STORE", "")) or [str(DEFAULT_STORE.absolute())])


def _rows(sample: Path, target: str | None) -> "pd.DataFrame":
    rows = read_rows(sample)
    if target is None:
        return rows
    if target not in rows.columns:
        raise click.BadParameter(f"{sample} has no column {target!r}", param_hint="--target")
    return rows.drop(columns=[target])


def _needless(given: dict[str, Any], beside: str) -> None:
    for option, value in given.items():
        if value:
            raise click.UsageError(f"{option} says nothing beside {beside}")


def _saved(options: Options, manifest: Manifest, output: Path | None) -> None:
    goal = output or library.manifest_path(MODELS, manifest.name)
    library.write_manifest(goal, manifest)
    if options.as_json:
        print_document(_document(manifest) | {"manifest": str(goal)})
        return
    out.print(f"[green]model saved[/] {escape(manifest.name)}")
    out.print(f"  file      {escape(manifest.uri)} ({manifest.size} bytes)", soft_wrap=True)
    out.print(f"  manifest  {escape(str(goal))}", soft_wrap=True)
    out.print(_fields(manifest))


def _document(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json", exclude_none=True)


def _fields(manifest: Manifest) -> Table:
    grid = table("field", "type", "nullable")
    for field in manifest.input_schema.fields if manifest.input_schema else ():
        grid.add_row(escape(field.name), field.type, "yes" if field.nullable else "")
    return grid


def described_output(manifest: Manifest) -> str:
    """Return what a model answers, in words."""
    schema = manifest.output_schema
    if schema is None:
        return ""
    labels = "" if schema.classes is None else f": {', '.join(map(str, schema.classes))}"
    return f"{schema.task}{labels}"


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not NAME=NUMBER", param_hint="--metric") from None
