"""What the commands share: how they run, and how outcomes and errors are told."""

import asyncio
import inspect
import logging
import os
import re
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaConnectionError, KafkaError
from rich.markup import escape

from client.audit import AuditEvent
from client.cli.options import ADDRESS, HOME, Format, Options, shared_options
from client.cli.output import (
    checks_table,
    err,
    out,
    print_document,
    show_rows,
    table,
    text,
)
from client.commands import BatonClient
from client.errors import CommandRejected, ScoringError, UpdateFailed
from client.outcome import Outcome
from schemas.errors import BatonError, SettingsError

__all__ = [
    "ADDRESS",
    "HOME",
    "REFUSED",
    "Command",
    "Format",
    "Group",
    "Options",
    "checks_table",
    "connected",
    "err",
    "fail",
    "out",
    "print_document",
    "run",
    "show_outcome",
    "show_progress",
    "show_refusal",
    "show_rows",
    "table",
    "text",
]

# Stable: scripts branch on them.
REFUSED = 1
USAGE = 2
UNREACHABLE = 3
# As the worker and the agent end on what nobody foresaw (sysexits.h: EX_SOFTWARE).
DEFECT = 70
INTERRUPTED = 130

T = TypeVar("T")


class Command(click.Command):
    """A command whose errors are one line and an exit code, never a traceback."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - click's signature
        super().__init__(*args, **options)
        # Click's mark (a backspace) keeps the lines of a paragraph as they are.
        self.help = re.sub(
            r"^(?=Examples?:)", "\b\n", inspect.cleandoc(self.help or ""), flags=re.MULTILINE
        )
        taken = {name for parameter in self.params for name in parameter.opts}
        self._shared = shared_options(taken)
        self.params += self._shared

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then those that all commands share."""
        for title, shared in (("Options", False), ("Options of every command", True)):
            found = [
                record
                for parameter in self.get_params(context)
                if (parameter in self._shared) is shared
                and (record := parameter.get_help_record(context)) is not None
            ]
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)

    def invoke(self, context: click.Context) -> Any:  # noqa: ANN401, C901 - one clause each
        """Run it."""
        options: Options = context.obj
        try:
            return super().invoke(context)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            raise
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
        except KafkaConnectionError as error:
            fail(options, "kafka_unreachable", str(error))
            context.exit(UNREACHABLE)
        except (BatonError, OSError) as error:
            fail(options, getattr(error, "code", "error"), str(error))
            context.exit(REFUSED)
        except KafkaError as error:
            fail(options, "kafka_error", f"{type(error).__name__}: {error}")
            context.exit(REFUSED)
        except KeyboardInterrupt:
            context.exit(INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - a person at a terminal is shown no traceback
            more = "set BATON_LOG_LEVEL=DEBUG to see where"
            if os.environ.get("BATON_LOG_LEVEL", "").upper() == "DEBUG":
                more = f"\n{traceback.format_exc()}"
            fail(options, "defect", f"a defect of Baton: {type(error).__name__}: {error}; {more}")
            context.exit(DEFECT)


class Group(click.Group):
    """A noun."""

    command_class = Command
    group_class = type


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the command's coroutine."""
    return asyncio.run(work)


def connected(
    options: Options,
    work: Callable[[BatonClient], Coroutine[Any, Any, T]],
    on_progress: Callable[[AuditEvent], None] | None = None,
) -> T:
    """Run ``work`` with a client that shows progress, or tells ``on_progress`` of it."""
    shown = None if options.as_json else show_progress

    async def within() -> T:
        client = BatonClient(
            options.settings(),
            source="/baton/cli",
            timeout_s=options.timeout_s,
            on_progress=on_progress or shown,
        )
        async with client:
            return await work(client)

    return run(within())


def quieted() -> None:
    """Keep the Kafka library from telling what the error that ends the command tells."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def fail(options: Options, code: str, message: str) -> None:
    """Show an error."""
    if options.as_json:
        print_document({"error": {"code": code, "message": message}})
    else:
        err.print(f"[red bold]error[/]: {escape(message)} [dim]({code})[/]", soft_wrap=True)


def show_progress(event: AuditEvent) -> None:
    """Say that a change is under way."""
    data = event.data
    after = data.after.asset_id if data.after else "?"
    err.print(
        f"[yellow]{data.status}[/] {data.deployment_id}: verifying asset {escape(after)} …",
        soft_wrap=True,
    )


def show_outcome(options: Options, outcome: Outcome, message: str) -> None:
    """Say what a command has done."""
    if options.as_json:
        print_document(outcome.event.as_json())
    else:
        out.print(f"[green]{outcome.name}[/] {message}", soft_wrap=True)


def show_refusal(options: Options, event: AuditEvent, message: str, code: str) -> None:
    """Say why a command changed nothing, with the failed checks."""
    if options.as_json:
        print_document(event.as_json())
        return
    err.print(f"[red bold]{event.name}[/]: {escape(message)} [dim]({code})[/]", soft_wrap=True)
    failed = [check for check in event.data.checks or () if not check.passed]
    if failed:
        err.print(checks_table(failed))
