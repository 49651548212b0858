"""What the API's resources look like."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from client.audit import AuditEvent
from console.commands import Progress
from schemas.events import EventName
from schemas.records import (
    AssetRecord,
    DeploymentRecord,
    HistoryEntry,
    SpaceRecord,
    Status,
)


class Space(BaseModel):
    """A deployment space."""

    space_id: str
    name: str
    description: str | None = None
    created_at: str


class Asset(BaseModel):
    """An asset in a list: its manifest without schemas and sample. ``used_by`` are deployments."""

    space_id: str
    asset_id: str
    name: str
    description: str | None = None
    tags: list[str]
    framework: str
    task: str | None = None
    metrics: dict[str, float]
    created_at: str
    used_by: list[str]


class Deployment(BaseModel):
    """A deployment in a list."""

    space_id: str
    deployment_id: str
    name: str
    description: str | None = None
    status: Status
    revision: int
    asset_id: str | None = None
    pending_asset_id: str | None = None
    history: list[HistoryEntry]
    created_at: str
    last_update: str


class Spaces(BaseModel):
    """A page of spaces; ``total`` counts all."""

    total: int
    items: list[Space]


class Assets(BaseModel):
    """A page of assets; ``total`` counts all."""

    total: int
    items: list[Asset]


class Deployments(BaseModel):
    """A page of deployments; ``total`` counts all."""

    total: int
    items: list[Deployment]


class Event(BaseModel):
    """An event of the audit log: its CloudEvents attributes, its data, and its place."""

    model_config = ConfigDict(extra="allow")

    event: str
    sequence: str
    partition: int
    offset: int
    data: dict[str, Any]


class Events(BaseModel):
    """Events; ``cursor`` is the place behind them, ``end`` whether the log ends there now."""

    items: list[Event]
    cursor: str
    end: bool


class Command(BaseModel):
    """A command: ``pending`` in the log, ``running`` its verification, or ended.

    Then ``status`` is ``done``, ``failed`` or ``rejected``; ``event`` says the rest, unless the log
    reaches no longer back to it. ``location`` is where to ask again.
    """

    command_id: str
    status: str
    location: str
    code: str | None = None
    message: str | None = None
    deployment_id: str | None = None
    asset_id: str | None = None
    revision: int | None = None
    event: dict[str, Any] | None = None


class StoredFile(BaseModel):
    """A file in the model store: what a manifest says of it."""

    uri: str
    sha256: str
    size: int


def space(record: SpaceRecord) -> Space:
    """Return a space's document."""
    return Space(**record.model_dump(include=set(Space.model_fields)))


def asset(record: AssetRecord, used_by: list[str]) -> Asset:
    """Return an asset's document."""
    manifest = record.manifest
    assert manifest is not None  # noqa: S101 - it is not deleted
    return Asset(
        space_id=record.space_id,
        asset_id=record.asset_id,
        name=manifest.name,
        description=manifest.description,
        tags=list(manifest.tags),
        framework=f"{manifest.framework.name} {manifest.framework.version}",
        task=manifest.output_schema.task if manifest.output_schema else None,
        metrics=manifest.metrics,
        created_at=record.created_at,
        used_by=used_by,
    )


def deployment(record: DeploymentRecord) -> Deployment:
    """Return a deployment's document."""
    return Deployment(
        space_id=record.space_id,
        deployment_id=record.deployment_id,
        name=record.name,
        description=record.description,
        status=record.status,
        revision=record.revision,
        asset_id=record.asset.asset_id if record.asset else None,
        pending_asset_id=record.pending.asset.asset_id if record.pending else None,
        history=list(record.history),
        created_at=record.created_at,
        last_update=record.last_update,
    )


def event(found: AuditEvent) -> Event:
    """Return an event's document."""
    return Event.model_validate(found.as_json())


def command(progress: Progress) -> Command:
    """Return a command's document."""
    return Command(
        command_id=progress.command_id,
        location=f"/api/commands/{progress.command_id}",
        **(_outcome(progress.event) if progress.event else _status(progress)),
    )


def _status(progress: Progress) -> dict[str, Any]:
    if progress.status != "ended":
        return {"status": progress.status}
    known = {"done": "done", "failed": "failed"}.get(progress.outcome or "")
    return {"status": known or "rejected", "code": None if known else progress.outcome}


def _outcome(found: AuditEvent) -> dict[str, Any]:
    data = found.data
    status, code = "done", data.code
    if found.name == EventName.COMMAND_REJECTED:
        status = "rejected"
    elif found.name == EventName.UPDATE_FAILED:
        status, code = "failed", "update_failed"
    return {
        "status": status,
        "code": code,
        "message": data.message,
        "deployment_id": data.deployment_id,
        "asset_id": data.asset_id or (data.after.asset_id if data.after else None),
        "revision": data.revision,
        "event": found.as_json(),
    }
