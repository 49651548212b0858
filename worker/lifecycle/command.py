"""A command as the rules see it, and how one is read from a CloudEvent."""

from dataclasses import dataclass

from pydantic import ValidationError

from schemas.checks import Check
from schemas.cloudevents import CloudEvent
from schemas.commands import COMMANDS, CommandData, command_name
from schemas.ids import command_key
from schemas.traces import TraceContext


@dataclass(frozen=True, slots=True)
class Command:
    """A decoded command. ``source`` + ``id`` are its identity, ``key`` a digest of both."""

    source: str
    id: str
    type: str
    actor: str | None
    data: CommandData
    trace: TraceContext | None = None

    @property
    def key(self) -> str:
        """The identity under which its outcome is remembered."""
        return command_key(self.source, self.id)


# The audit log keeps it for ever: enough to recognise the value, not all of a huge one.
SHOWN_CHARS = 200
SHOWN_FAULTS = 100


class InvalidCommandError(Exception):
    """A command that does not fit its schema; ``checks`` has one entry a fault."""

    def __init__(self, message: str, checks: tuple[Check, ...]) -> None:
        super().__init__(message)
        self.checks = checks


def parse_command(event: CloudEvent) -> Command:
    """Read the command in ``event``. Raises InvalidCommandError naming each field at fault."""
    name = command_name(event.type)
    if name is None:
        known = ", ".join(COMMANDS)
        check = Check(
            name="type",
            passed=False,
            expected=known,
            actual=event.type,
            hint="the CloudEvents type of a command is baton.command.<name>.v1",
        )
        raise InvalidCommandError(f"unknown command type {event.type!r}", (check,))
    try:
        data = COMMANDS[name].model_validate(event.data)
    except ValidationError as error:
        # One entry a fault, but not a hundred thousand: the event must fit into its topic.
        faults = error.errors(include_url=False, include_context=False)
        checks = tuple(
            Check(
                name=(".".join(str(part) for part in fault["loc"]) or "data")[:SHOWN_CHARS],
                passed=False,
                expected=fault["msg"],
                actual=_shown(fault["input"]),
                hint="unknown fields are refused, so that a typo is not silently ignored"
                if fault["type"] == "extra_forbidden"
                else "",
            )
            for fault in faults[:SHOWN_FAULTS]
        )
        fields = ", ".join(check.name for check in checks)
        more = len(faults) - len(checks)
        rest = f" and {more} more" if more else ""
        raise InvalidCommandError(f"{name}: invalid field(s): {fields}{rest}", checks) from None
    actor = event.attributes.get("actor")
    return Command(event.source, event.id, event.type, actor, data, event.trace)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that nests too deep to be shown"
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
