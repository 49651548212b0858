"""What the commands share: settings, errors and how outcomes are shown."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from client.audit import AuditEvent
from client.commands import BatonClient
from client.errors import CommandRejected, ScoringError, UpdateFailed
from client.outcome import Outcome
from schemas.checks import Check
from schemas.errors import BatonError, SettingsError
from transport.settings import Settings

REFUSED = 1
USAGE = 2
UNREACHABLE = 3

HOME = Path(".baton")
# Where `baton up` leaves the address of its Kafka for the other commands.
ADDRESS = HOME / "up.json"

# Without a terminal nothing says how wide lines may be: no ID is folded for it.
PIPED_WIDTH = 160


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(stderr=stderr, highlight=False, width=PIPED_WIDTH)


out = _console(stderr=False)
err = _console(stderr=True)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """The options that stand before the noun."""

    bootstrap_servers: str | None
    as_json: bool
    timeout_s: float

    def settings(self) -> Settings:
        """Return the settings. Raises SettingsError where no Kafka is known."""
        servers = self.bootstrap_servers or _started_here()
        if not servers:
            raise SettingsError(
                "no Kafka known: run `baton up` in this folder, give --bootstrap-servers, or set "
                "BATON_BOOTSTRAP_SERVERS"
            )
        return Settings.from_env(os.environ, bootstrap_servers=servers)


class Command(click.Command):
    """A command whose errors are one line and an exit code, never a traceback."""

    def invoke(self, context: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run it."""
        options: Options = context.obj
        try:
            return super().invoke(context)
        except CommandRejected as error:
            show_refusal(options, error.event, error.message, error.rejection)
            context.exit(REFUSED)
        except UpdateFailed as error:
            show_refusal(options, error.event, str(error), error.code)
            context.exit(REFUSED)
        except ScoringError as error:
            field = f" (field {error.field})" if error.field else ""
            fail(options, error.reason, f"{error.message}{field}")
            context.exit(REFUSED)
        except SettingsError as error:
            fail(options, error.code, str(error))
            context.exit(USAGE)
        except TimeoutError as error:
            fail(options, "timeout", str(error) or "nobody answered in time")
            context.exit(UNREACHABLE)
        except (BatonError, OSError) as error:
            fail(options, getattr(error, "code", "error"), str(error))
            context.exit(REFUSED)
        except KeyboardInterrupt:
            context.exit(130)


class Group(click.Group):
    """A noun."""

    command_class = Command
    group_class = type


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the command's coroutine."""
    return asyncio.run(work)


def connected(options: Options, work: Callable[[BatonClient], Coroutine[Any, Any, T]]) -> T:
    """Run ``work`` with a client that shows progress."""

    async def within() -> T:
        client = BatonClient(
            options.settings(),
            source="/baton/cli",
            timeout_s=options.timeout_s,
            on_progress=None if options.as_json else show_progress,
        )
        async with client:
            return await work(client)

    return run(within())


def fail(options: Options, code: str, message: str) -> None:
    """Show an error."""
    if options.as_json:
        print_json({"error": {"code": code, "message": message}})
    else:
        err.print(f"[red bold]error[/]: {escape(message)} [dim]({code})[/]", soft_wrap=True)


def print_json(document: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON document on a line of its own."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def show_progress(event: AuditEvent) -> None:
    """Say that a change is under way."""
    data = event.data
    after = data.after.asset_id if data.after else "?"
    err.print(
        f"[yellow]{data.status}[/] {data.deployment_id}: verifying asset {escape(after)} …",
        soft_wrap=True,
    )


def show_outcome(options: Options, outcome: Outcome, text: str) -> None:
    """Say what a command has done."""
    if options.as_json:
        print_json(outcome.event.as_json())
    else:
        out.print(f"[green]{outcome.name}[/] {text}", soft_wrap=True)


def show_refusal(options: Options, event: AuditEvent, message: str, code: str) -> None:
    """Say why a command changed nothing, with the failed checks."""
    if options.as_json:
        print_json(event.as_json())
        return
    err.print(f"[red bold]{event.name}[/]: {escape(message)} [dim]({code})[/]", soft_wrap=True)
    failed = [check for check in event.data.checks or () if not check.passed]
    if failed:
        err.print(checks_table(failed))


def checks_table(checks: Iterable[Check]) -> Table:
    """Return a table of checks, the failed ones with what to do."""
    grid = table("check", "", "expected", "actual", "hint")
    for check in checks:
        sign = "[green]passed[/]" if check.passed else "[red]failed[/]"
        shown = (_text(check.expected), _text(check.actual), check.hint)
        grid.add_row(escape(check.name), sign, *(escape(text) for text in shown))
    return grid


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
    """Show documents as a table of some of their members, or whole as JSON."""
    if options.as_json:
        print_json(list(documents))
        return
    grid = table(*columns)
    for document in documents:
        grid.add_row(*(escape(_text(document.get(column))) for column in columns))
    out.print(grid if documents else "[dim]none[/]")


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _started_here() -> str | None:
    try:
        address = json.loads(ADDRESS.read_text())["bootstrap_servers"]
    except (OSError, ValueError, KeyError):
        return None
    return str(address)
