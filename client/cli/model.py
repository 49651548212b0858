"""``baton model``: from a trained estimator's file to a manifest."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError
from rich.markup import escape

from client.cli.common import HOME, Command, Group, Options, out, print_json, table
from schemas.errors import BatonError
from schemas.manifest import Manifest
from transport.settings import DEFAULT_STORE, roots

if TYPE_CHECKING:
    import pandas as pd

MODELS = HOME / "models"


@click.group(cls=Group, name="model")
def group() -> None:
    """Models: saved files with everything that is known about them."""


@group.command(cls=Command)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--sample",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV or Parquet with rows of the model's input: its schema comes from them.",
)
@click.option("--name", required=True)
@click.option("--description")
@click.option("--tag", "tags", multiple=True, help="May be given several times.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME=VALUE")
@click.option("--project", "project_id", help="The project that the model belongs to.")
@click.option("--target", help="A column of the sample that is no input, and is left out.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the manifest goes; by default .baton/models/NAME.json.",
)
@click.pass_obj
def save(  # noqa: PLR0913, PLR0917 - an option each
    options: Options,
    file: Path,
    sample: Path,
    name: str,
    description: str | None,
    tags: tuple[str, ...],
    metrics: tuple[str, ...],
    project_id: str | None,
    target: str | None,
    output: Path | None,
) -> None:
    """Save FILE (an estimator written by joblib.dump) as a model.

    It is loaded here, which runs its code: save only what you trust.

    Example: baton model save model.joblib --sample rows.csv --name fraud-1 --metric auc=0.97
    """
    # scikit-learn takes a second to import: only where it is needed.
    from artifacts.save import save_model_file  # noqa: PLC0415
    from artifacts.store import Store  # noqa: PLC0415

    rows = read_rows(sample)
    if target is not None:
        if target not in rows.columns:
            raise click.BadParameter(f"{sample} has no column {target!r}", param_hint="--target")
        rows = rows.drop(columns=[target])
    store = Store(roots(os.environ.get("BATON_STORE", "")) or [str(DEFAULT_STORE.absolute())])
    manifest = save_model_file(
        file,
        rows,
        store=store,
        name=name,
        description=description,
        tags=tags,
        metrics=dict(_metric(text) for text in metrics),
        project_id=project_id,
    )
    goal = output or MODELS / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.json"
    _write(goal, manifest.model_dump_json(indent=2, exclude_none=True) + "\n")
    if options.as_json:
        print_json(manifest.model_dump(mode="json", exclude_none=True) | {"manifest": str(goal)})
        return
    out.print(f"[green]model saved[/] {escape(name)}")
    out.print(f"  file      {escape(manifest.uri)} ({manifest.size} bytes)", soft_wrap=True)
    out.print(f"  manifest  {escape(str(goal))}", soft_wrap=True)
    grid = table("field", "type", "nullable")
    for field in manifest.input_schema.fields if manifest.input_schema else ():
        grid.add_row(escape(field.name), field.type, "yes" if field.nullable else "")
    out.print(grid)


def _write(goal: Path, text: str) -> None:
    """Write so that ``goal`` is whole, or what it was: a full disk takes no manifest away."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    scratch = goal.with_name(f".{goal.name}.{os.getpid()}")
    try:
        scratch.write_text(text)
        scratch.replace(goal)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise BatonError(f"cannot write the manifest {goal}: {error}") from error


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
    path = model if model.is_file() else MODELS / f"{model}.json"
    try:
        return Manifest.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise BatonError(
            f"there is no model {model}: save it by `baton model save`, or give its manifest file"
        ) from None
    except ValidationError as error:
        raise BatonError(f"{path} is no manifest: {error}") from None


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not NAME=NUMBER", param_hint="--metric") from None
