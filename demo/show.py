"""How the demo speaks: numbered steps, tables, and claims that stop it where they are not so."""

import contextlib
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

WIDTH = 100


class DemoError(Exception):
    """A claim of the demo is not so."""


class Show:
    """Prints the demo. Without a terminal it prints lines of a fixed width and no spinner."""

    def __init__(self) -> None:
        plain = Console(highlight=False)
        self.console = plain if plain.is_terminal else Console(highlight=False, width=WIDTH)
        self._step = 0
        self.proved = 0

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._step += 1
        self.console.print(f"\n[bold cyan]{self._step:2}  {escape(title)}[/]")

    def say(self, text: str) -> None:
        """Print a line, which may hold markup."""
        self.console.print(f"    {text}", soft_wrap=True)

    def progress(self, message: str) -> None:
        """Print a line of a service that starts."""
        self.say(f"[dim]{escape(message)}[/]")

    def claim(self, text: str, *, holds: bool) -> None:
        """Show that ``text`` has been checked. Raises DemoError where it does not hold."""
        if not holds:
            raise DemoError(text)
        self.proved += 1
        self.say(f"[green]✓[/] {escape(text)}")

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something takes a moment."""
        if self.console.is_terminal:
            with self.console.status(escape(text)):
                yield
        else:
            yield

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table; numbers to the right."""
        grid = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for place, heading in enumerate(headings):
            numeric = all(isinstance(row[place], int | float) for row in rows)
            grid.add_column(heading, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            grid.add_row(*(_cell(value) for value in row))
        self.console.print(Padding(grid, (0, 0, 0, 4)))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004 - a ratio or not
    return escape(str(value))
