"""What becomes of a command."""

from dataclasses import dataclass
from typing import Any

from client.audit import AuditEvent
from client.errors import CommandRejected, UpdateFailed
from schemas.events import EventName


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command: its final event."""

    event: AuditEvent

    @property
    def name(self) -> str:
        """The event's name, e.g. ``deployment-updated``."""
        return self.event.name

    @property
    def command_id(self) -> str:
        """The command's id."""
        return self.event.command_id

    @property
    def asset_id(self) -> str:
        """The asset it is about."""
        return self.event.data.asset_id or ""

    @property
    def deployment_id(self) -> str:
        """The deployment it is about."""
        return self.event.data.deployment_id or ""

    @property
    def revision(self) -> int:
        """The deployment's revision afterwards."""
        return self.event.data.revision or 0


def is_of(event: AuditEvent, command_type: str, body: dict[str, Any]) -> bool:
    """Whether ``event`` can be about the command: of its type, and of the things it names."""
    data = event.data
    return data.command_type == command_type and all(
        body.get(name) in {None, getattr(data, name)}
        for name in ("space_id", "deployment_id", "asset_id", "name")
        if getattr(data, name) is not None
    )


def judged(event: AuditEvent) -> Outcome:
    """Return the outcome of a command that ended with ``event``.

    Raises CommandRejected or UpdateFailed where it ended badly.
    """
    if event.name == EventName.COMMAND_REJECTED:
        raise CommandRejected(event)
    if event.name == EventName.UPDATE_FAILED:
        raise UpdateFailed(event)
    return Outcome(event)
