"""How results are shown: tables for people, JSON or YAML for machines."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from client.cli.options import Format, Options
from schemas.checks import Check

# Without a terminal nothing says how wide lines may be: no ID is folded for it.
PIPED_WIDTH = 160


def _console(*, stderr: bool) -> Console:
    # Rich colours a terminal only, and none where NO_COLOR is set.
    console = Console(stderr=stderr, highlight=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(stderr=stderr, highlight=False, width=PIPED_WIDTH)


out = _console(stderr=False)
err = _console(stderr=True)


def print_document(document: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one document: JSON on a line of its own, or YAML where the command is to."""
    context = click.get_current_context(silent=True)
    options = None if context is None else context.find_object(Options)
    line = json.dumps(document, ensure_ascii=False) + "\n"
    if options is not None and options.format is Format.YAML:
        # Of plain values: what JSON takes for a text, YAML may not know.
        plain = json.loads(line)
        line = "---\n" + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    sys.stdout.write(line)
    sys.stdout.flush()


def table(*columns: str) -> Table:
    """Return an empty table with these headings."""
    grid = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        # IDs are there to be copied.
        grid.add_column(column, overflow="fold", no_wrap=column.endswith("_id"))
    return grid


def show_rows(
    options: Options, documents: Sequence[dict[str, Any]], columns: Sequence[str]
) -> None:
    """Show documents as a table of some of their members, or whole as one list."""
    if options.as_json:
        print_document(list(documents))
        return
    grid = table(*columns)
    for document in documents:
        grid.add_row(*(escape(text(document.get(column))) for column in columns))
    out.print(grid if documents else "[dim]none[/]")


def checks_table(checks: Iterable[Check]) -> Table:
    """Return a table of checks, the failed ones with what to do."""
    grid = table("check", "", "expected", "actual", "hint")
    for check in checks:
        sign = "[green]passed[/]" if check.passed else "[red]failed[/]"
        shown = (text(check.expected), text(check.actual), check.hint)
        grid.add_row(escape(check.name), sign, *(escape(part) for part in shown))
    return grid


def text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a JSON value as a person reads it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
