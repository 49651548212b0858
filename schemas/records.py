"""The records of the state table, and their keys. The table is compacted: the last one counts."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.checks import Check
from schemas.commands import Reason
from schemas.manifest import Manifest
from schemas.traces import TraceContext

CURSOR_KEY = "cursor"
# The outcome of a command that has begun something and has not ended.
ACCEPTED = "accepted"


class Status(StrEnum):
    """The status of a deployment."""

    INITIALIZING = "initializing"
    DEPLOYED = "deployed"
    UPDATING = "updating"
    FAILED = "failed"
    DELETED = "deleted"


class Saga(StrEnum):
    """What a pending change is for; names the event that ends it well."""

    CREATE = "create"
    REPLACE = "replace"
    ROLLBACK = "rollback"


class _Record(BaseModel):
    # Records are read by older and newer workers side by side: unknown fields are kept out, not
    # refused.
    model_config = ConfigDict(frozen=True, extra="ignore")


class SpaceRecord(_Record):
    """``space/ID``."""

    space_id: str
    name: str
    description: str | None = None
    created_at: str
    command_id: str


class AssetRecord(_Record):
    """``asset/ID``. A deleted asset leaves its ID behind, without a manifest: no ID comes back."""

    space_id: str
    asset_id: str
    manifest: Manifest | None
    created_at: str
    command_id: str
    deleted: bool = False


class DeployedAsset(_Record):
    """An asset as a deployment holds it: all that scoring needs to serve it."""

    asset_id: str
    manifest: Manifest


class Pending(_Record):
    """A change under verification. ``since`` and ``deadline`` are RFC 3339 UTC.

    ``verified``: it has passed, and agents have a moment to load it before it serves.
    """

    saga: Saga
    asset: DeployedAsset
    command_id: str
    command_source: str
    command_key: str
    command_type: str
    actor: str | None = None
    reason: Reason | None = None
    comment: str | None = None
    since: str
    deadline: str
    checks: tuple[Check, ...] = ()
    to_revision: int | None = None
    verified: bool = False
    trace: TraceContext | None = None


class HistoryEntry(_Record):
    """One revision of a deployment."""

    revision: int
    asset_id: str
    at: str
    command_id: str


class DeploymentRecord(_Record):
    """``deployment/ID``: what the endpoint serves now. Revision 0 has never served."""

    space_id: str
    deployment_id: str
    name: str
    description: str | None = None
    status: Status
    revision: int
    asset: DeployedAsset | None
    pending: Pending | None = None
    history: Annotated[tuple[HistoryEntry, ...], Field(max_length=20)] = ()
    created_at: str
    last_update: str


class Trial(_Record):
    """A dry run under verification: kept with its command, so that a crash loses no answer."""

    command_key: str
    deployment_id: str
    asset: DeployedAsset
    actor: str | None = None
    since: str
    deadline: str
    checks: tuple[Check, ...] = ()
    trace: TraceContext | None = None


class CommandRecord(_Record):
    """``command/KEY`` (schemas.ids.command_key): a command seen, for seven days.

    ``outcome`` is ``accepted``, ``done``, ``failed`` or a rejection code.
    """

    space_id: str | None
    command_id: str
    source: str
    command_type: str
    outcome: str
    subject: str | None = None
    at_ms: int
    trial: Trial | None = None


class CursorRecord(_Record):
    """``cursor``: the last applied command offset and the last event sequence of the partition."""

    offset: int
    sequence: int


Record = SpaceRecord | AssetRecord | DeploymentRecord | CommandRecord | CursorRecord

_KINDS: dict[str, type[Record]] = {
    "space": SpaceRecord,
    "asset": AssetRecord,
    "deployment": DeploymentRecord,
    "command": CommandRecord,
    "cursor": CursorRecord,
}


def record_key(kind: str, identity: str) -> str:
    """Return the key of a record: ``kind`` is space, asset, deployment or command."""
    return f"{kind}/{identity}"


def decode_record(key: str, value: bytes) -> Record:
    """Read the record under ``key``. Raises pydantic's ValidationError or KeyError."""
    return _KINDS[key.partition("/")[0]].model_validate_json(value)


def encode_record(record: Record) -> bytes:
    """Return the JSON of ``record``."""
    return record.model_dump_json().encode()


JsonObject = dict[str, Any]
