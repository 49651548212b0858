"""``baton score``: one request, or a whole file."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.markup import escape

from client.cli.common import Command, Options, out, print_document, run, table
from client.cli.model import read_rows
from client.cli.names import (
    AmbiguousNameError,
    complete_deployments,
    complete_spaces,
    find_deployment,
)
from client.cli.scorefile import score_to_file
from client.scoring import ScoreRequest, ScoreResult, ScoringClient
from client.state import StateReader
from schemas.errors import BatonError


@click.command(cls=Command)
@click.argument("target", metavar="FILE|DEPLOYMENT", shell_complete=complete_deployments)
@click.option(
    "--deployment",
    help="The deployment's ID or name; FILE stands before it.",
    shell_complete=complete_deployments,
)
@click.option("--space", "space_id", help="The deployment's space.", shell_complete=complete_spaces)
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='With DEPLOYMENT: CSV, Parquet, or JSON {"fields": […], "values": [[…]]}.',
)
@click.option("--rows", type=click.IntRange(1), help="Only the first rows.")
@click.option("--min-revision", type=int, help="One request: wait for at least this revision.")
@click.option(
    "--out",
    "goal",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Score all rows into this file: .csv, .parquet or .jsonl.",
)
@click.option("--keep", multiple=True, metavar="COLUMN", help="With --out: a column to take over.")
@click.option("--restart", is_flag=True, help="With --out: throw away what an earlier run left.")
@click.pass_obj
def score(  # noqa: PLR0913, PLR0917 - an option each
    options: Options,
    /,
    target: str,
    deployment: str | None,
    space_id: str | None,
    data: Path | None,
    rows: int | None,
    min_revision: int | None,
    goal: Path | None,
    keep: tuple[str, ...],
    *,
    restart: bool,
) -> None:
    """Score the rows of a file: in one request, or with --out a file of any length.

    With --out every row of the result has its number, the asset and the revision that scored it; a
    row that cannot be scored has an error code and message instead. It runs in bounded memory, and
    the same command goes on where it was interrupted: no row is there twice, and none is lost.

    Examples:
      baton score rows.csv --deployment scoring --rows 5
      baton score data.csv --deployment scoring --out scored.parquet --keep id
      baton score DEPLOYMENT --data rows.json
    """
    path, named = _what(target, deployment, data)
    if goal is not None:
        score_to_file(options, path, goal, (named, space_id), keep, limit=rows, restart=restart)
        return
    if keep or restart:
        raise click.UsageError("--keep and --restart go with --out")
    fields, values = _read(path)

    async def work() -> ScoreResult:
        async with ScoringClient(options.settings(), timeout_s=options.timeout_s) as client:
            found = await _identified(options, named, space_id)
            request = ScoreRequest(found, values[:rows], fields, min_revision=min_revision)
            return await client.ask(request)

    _show(options, run(work()))


def _what(target: str, deployment: str | None, data: Path | None) -> tuple[Path, str]:
    """Return the file and the deployment that the command names in one of its two forms."""
    if deployment is None:
        if data is None:
            raise click.UsageError("give FILE and --deployment, or DEPLOYMENT and --data")
        return data, target
    if data is not None:
        raise click.UsageError("--data goes with DEPLOYMENT, not with FILE and --deployment")
    path = Path(target)
    if not path.is_file():
        raise click.BadParameter(f"there is no file {path}", param_hint="FILE")
    return path, deployment


async def _identified(options: Options, named: str, space_id: str | None) -> str:
    """Return the deployment's ID; an unknown name as it is: the answer says that it is unknown."""
    try:
        return str(UUID(named))
    except ValueError:
        pass
    reader = StateReader(options.settings())
    try:
        return (await find_deployment(reader, named, space_id)).deployment_id
    except AmbiguousNameError:
        raise
    except BatonError:
        return named
    finally:
        await reader.close_view()


def _show(options: Options, result: ScoreResult) -> None:
    if options.as_json:
        place = {"partition": result.partition, "offset": result.offset}
        print_document(
            {
                "id": result.request_id,
                "deployment_id": result.deployment_id,
                "asset_id": result.asset_id,
                "revision": result.revision,
                "predictions": result.predictions,
                "request": place,
            }
        )
        return
    out.print(f"asset {escape(result.asset_id)}, revision {result.revision}")
    names = result.predictions[0]["fields"]
    grid = table(*names)
    for row in result.values:
        grid.add_row(*(escape(_shown(value)) for value in row))
    out.print(grid)


def _shown(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return "  ".join(f"{share:.4f}" for share in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _read(path: Path) -> tuple[list[str] | None, list[list[Any]]]:
    if path.suffix.lower() == ".json":
        try:
            document = json.loads(path.read_text())
            entry = document.get("input_data", [document])[0]
            return entry.get("fields"), entry["values"]
        except (ValueError, KeyError, AttributeError, IndexError) as error:
            raise BatonError(
                f'{path} is not {{"fields": […], "values": [[…]]}}: {error!r}'
            ) from error
    frame = read_rows(path)
    # What is missing in a file is null in a request.
    missing = frame.isna().to_numpy()
    rows = [
        [None if gone else value for value, gone in zip(row, gaps, strict=True)]
        for row, gaps in zip(frame.itertuples(index=False, name=None), missing, strict=True)
    ]
    return [str(column) for column in frame.columns], rows
