"""The events: the audit log. Type ``baton.event.<name>.v1``."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.checks import Check
from schemas.cloudevents import CloudEvent
from schemas.traces import TraceContext

PREFIX = "baton.event."
SUFFIX = ".v1"
SOURCE = "/baton/worker"


class EventName(StrEnum):
    """Everything that can have happened."""

    SPACE_CREATED = "space-created"
    ASSET_PROMOTED = "asset-promoted"
    UPDATE_STARTED = "update-started"
    DEPLOYMENT_CREATED = "deployment-created"
    DEPLOYMENT_UPDATED = "deployment-updated"
    UPDATE_FAILED = "update-failed"
    UPDATE_CHECKED = "update-checked"
    DEPLOYMENT_ROLLED_BACK = "deployment-rolled-back"
    DEPLOYMENT_DELETED = "deployment-deleted"
    ASSET_DELETED = "asset-deleted"
    COMMAND_REJECTED = "command-rejected"


# The events that end a command: whoever awaits an outcome awaits one of these.
FINAL = frozenset(EventName) - {EventName.UPDATE_STARTED}
# The events since which a deployment serves another asset, or its first.
SWITCHED = frozenset(
    {
        EventName.DEPLOYMENT_CREATED,
        EventName.DEPLOYMENT_UPDATED,
        EventName.DEPLOYMENT_ROLLED_BACK,
    }
)


class AssetAt(BaseModel):
    """Which asset a deployment served (or shall serve) at which revision."""

    model_config = ConfigDict(frozen=True)

    asset_id: str
    revision: int


class EventData(BaseModel):
    """The data of an event. Fields that do not apply to a type are left out of its JSON.

    ``before`` and ``after`` name asset and revision; ``checks`` are the gate's and the
    verification's; ``code`` and ``message`` belong to ``command-rejected``.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    # None: the command named no space that could be read.
    space_id: str | None = None
    command_id: str
    command_type: str
    actor: str | None = None
    deployment_id: str | None = None
    asset_id: str | None = None
    name: str | None = None
    description: str | None = None
    manifest: dict[str, Any] | None = None
    status: str | None = None
    revision: int | None = None
    before: AssetAt | None = None
    after: AssetAt | None = None
    reason: str | None = None
    comment: str | None = None
    code: str | None = None
    message: str | None = None
    passed: bool | None = None
    dry_run: bool | None = None
    checks: tuple[Check, ...] | None = None


class Event(BaseModel):
    """One line of the audit log before it gets its sequence number."""

    model_config = ConfigDict(frozen=True)

    name: EventName
    subject: str
    time: str
    causation_source: str
    data: EventData
    trace: TraceContext | None = None

    def cloudevent(self, *, partition: int, sequence: int, topic: str) -> CloudEvent:
        """Return it as a CloudEvent; its id is unique by topic, partition and ``sequence``."""
        return CloudEvent(
            {
                "specversion": "1.0",
                "id": f"{topic}-{partition}-{sequence}",
                "source": SOURCE,
                "type": f"{PREFIX}{self.name}{SUFFIX}",
                "subject": self.subject,
                "time": self.time,
                "causationid": self.data.command_id,
                "causationsource": self.causation_source,
                "sequence": f"{sequence:020d}",
            },
            self.data.model_dump(mode="json", exclude_none=True),
            self.trace,
        )


def event_name(ce_type: str) -> EventName | None:
    """Return the name in an event's CloudEvents type, or None for one this version lacks."""
    try:
        return EventName(ce_type.removeprefix(PREFIX).removesuffix(SUFFIX))
    except ValueError:
        return None
