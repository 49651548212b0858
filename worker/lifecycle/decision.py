"""What a decision is made of: events, records, verifications, and refusals with their reasons."""

from dataclasses import dataclass, field
from typing import Any

from schemas.checks import Check, Code
from schemas.events import AssetAt, Event, EventData, EventName
from schemas.records import CommandRecord, DeploymentRecord, Record, Trial, record_key
from schemas.times import rfc3339
from schemas.traces import TraceContext
from worker.lifecycle.view import Work


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows: events for the log, records for the table, verifications to begin."""

    events: tuple[Event, ...] = ()
    records: tuple[tuple[str, Record | None], ...] = ()
    verify: tuple[Work, ...] = ()


NOTHING = Decision()


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error
    """A command is refused: the stable code, a message, the failed checks."""

    def __init__(self, code: Code, message: str, checks: tuple[Check, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.checks = checks


@dataclass(frozen=True, slots=True)
class Origin:
    """The command that events and records come from; ``more`` goes into its rejection."""

    key: str
    source: str
    id: str
    type: str
    actor: str | None
    space_id: str | None
    now_ms: int
    more: dict[str, Any] = field(default_factory=dict)
    trace: TraceContext | None = None

    def remembered(
        self, outcome: str, subject: str | None, trial: Trial | None = None
    ) -> tuple[str, Record]:
        """Return the record that keeps the command's outcome."""
        return record_key("command", self.key), CommandRecord(
            space_id=self.space_id,
            command_id=self.id,
            source=self.source,
            command_type=self.type,
            outcome=outcome,
            subject=subject,
            at_ms=self.now_ms,
            trial=trial,
        )

    def event(self, name: EventName, subject: str, /, **data: Any) -> Event:  # noqa: ANN401
        """Return an event that the command causes; ``data`` are the fields of its type."""
        return Event(
            name=name,
            subject=subject,
            time=rfc3339(self.now_ms),
            causation_source=self.source,
            data=EventData(
                space_id=self.space_id,
                command_id=self.id,
                command_type=self.type,
                actor=self.actor,
                **data,
            ),
            trace=self.trace,
        )


def rejection(origin: Origin, refusal: Refusal) -> Decision:
    """Return the decision of a refused command: an event and its remembered outcome."""
    event = origin.event(
        EventName.COMMAND_REJECTED,
        f"command/{origin.id}",
        code=refusal.code.value,
        message=refusal.message,
        checks=refusal.checks,
        **origin.more,
    )
    return Decision((event,), (origin.remembered(refusal.code.value, None),))


def served(record: DeploymentRecord) -> AssetAt | None:
    """Return what the deployment serves, or None before its first revision."""
    if record.asset is None:
        return None
    return AssetAt(asset_id=record.asset.asset_id, revision=record.revision)
