"""``baton score``: one request."""

import json
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from client.cli.common import Command, Options, out, print_json, run, table
from client.cli.model import read_rows
from client.scoring import ScoreRequest, ScoreResult, ScoringClient
from schemas.errors import BatonError


@click.command(cls=Command)
@click.argument("deployment_id", metavar="DEPLOYMENT")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='CSV, Parquet, or JSON {"fields": […], "values": [[…]]}.',
)
@click.option("--rows", type=click.IntRange(1), help="Only the first rows.")
@click.option("--min-revision", type=int, help="Wait for at least this revision.")
@click.pass_obj
def score(
    options: Options, deployment_id: str, data: Path, rows: int | None, min_revision: int | None
) -> None:
    """Score the rows of a file in one request.

    Example: baton score DEPLOYMENT --data rows.csv --rows 5
    """
    fields, values = _read(data)
    request = ScoreRequest(deployment_id, values[:rows], fields, min_revision=min_revision)

    async def work() -> ScoreResult:
        async with ScoringClient(options.settings(), timeout_s=options.timeout_s) as client:
            return await client.ask(request)

    result = run(work())
    if options.as_json:
        place = {"partition": result.partition, "offset": result.offset}
        print_json(
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
