"""``baton model compare``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from client.cli.common import Command, Options, out, print_document, table
from client.cli.model import described_output, read_manifest, store

if TYPE_CHECKING:
    from artifacts.comparison import Prediction


@click.command(cls=Command)
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@click.pass_obj
def compare(options: Options, first: Path, second: Path) -> None:
    """Compare two models: metrics, input fields, and predictions on the sample rows of A.

    Both are loaded here, which runs their code.

    Example: baton model compare churn-8 churn-1
    """
    from artifacts.comparison import compare as compared  # noqa: PLC0415 - slow to import

    one, two = read_manifest(first), read_manifest(second)
    found = compared(one, two, store())
    if options.as_json:
        print_document(
            {
                "metrics": [pair._asdict() for pair in found.metrics],
                "fields": [pair._asdict() for pair in found.fields],
                "outputs": found.outputs,
                "predictions": [
                    pair._asdict()
                    | {"first": pair.first._asdict(), "second": pair.second._asdict()}
                    for pair in found.predictions
                ],
                "reason": found.reason,
            }
        )
        return
    grid = table("metric", escape(one.name), escape(two.name), "difference")
    for pair in found.metrics:
        numbers = (pair.first, pair.second)
        shown = ("" if value is None else f"{value:.6g}" for value in numbers)
        sign = "" if pair.difference is None else f"{pair.difference:+.4g}"
        grid.add_row(escape(pair.name), *shown, sign)
    out.print(grid)
    grid = table("field", escape(one.name), escape(two.name), "")
    for field in found.fields:
        if not field.same:
            parts = (field.first or "absent", field.second or "absent")
            grid.add_row(escape(field.name), *parts, "[yellow]differs[/]")
    if alike := sum(field.same for field in found.fields):
        grid.add_row(f"[dim]{alike} fields[/]", "[dim]the same[/]", "[dim]the same[/]")
    same = found.outputs[0] == found.outputs[1]
    grid.add_row(
        "[dim]answers[/]",
        described_output(one),
        described_output(two),
        "" if same else "[yellow]differs[/]",
    )
    out.print(grid)
    if found.reason:
        out.print(f"no predictions to compare: {escape(found.reason)}", soft_wrap=True)
        return
    grid = table("sample row", escape(one.name), escape(two.name), "")
    for row in found.predictions:
        sign = "" if row.same else "[yellow]differs[/]"
        grid.add_row(str(row.row), _shown(row.first), _shown(row.second), sign)
    out.print(grid)


def _shown(prediction: "Prediction") -> str:
    value, shares = prediction
    text = f"{value:.6g}" if isinstance(value, float) else escape(str(value))
    return text if shares is None else f"{text} ({max(shares):.4f})"
