"""The state table as the events tell it: a fold over the audit log, one partition at a time.

It knows nothing of the worker that wrote both: what it says of a record follows from events alone.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from client.audit import AuditEvent
from schemas.events import FINAL, SWITCHED, EventName
from schemas.ids import command_key
from schemas.manifest import Manifest
from schemas.records import ACCEPTED, Saga, Status, record_key
from schemas.topics import COMMAND_MEMORY_MS

Document = dict[str, Any]

# A record keeps so many revisions.
HISTORY = 20

_SAGAS = {
    "create-deployment": Saga.CREATE,
    "replace-asset": Saga.REPLACE,
    "rollback-deployment": Saga.ROLLBACK,
}


@dataclass(slots=True)
class Fold:
    """What a partition's events say of its records: ``apply`` each, in order.

    ``table`` holds under each key the members that follow from the events. Left out is what no
    event tells: a pending change's deadline, target revision and whether it was verified, and when
    a dry run's command came.
    """

    table: dict[str, Document] = field(default_factory=dict)
    sequence: int = 0

    def apply(self, event: AuditEvent) -> None:
        """Take the next event."""
        self.sequence = event.sequence
        data = event.data
        match event.name:
            case EventName.SPACE_CREATED:
                self._put("space", data.space_id, _space(event))
            case EventName.ASSET_PROMOTED:
                self._put("asset", data.asset_id, _asset(event, data.manifest))
            case EventName.ASSET_DELETED:
                self._put("asset", data.asset_id, _asset(event, None))
            case EventName.UPDATE_STARTED:
                self._begin(event)
            case EventName.UPDATE_FAILED:
                self._keep(event)
            case EventName.DEPLOYMENT_DELETED:
                self._delete(event)
            case name if name in SWITCHED:
                self._switch(event)
        self._remember(event)

    def may_be_forgotten(self, key: str, now_ms: int) -> bool:
        """Whether the record under ``key`` may be gone: outcomes are kept for seven days."""
        if not key.startswith("command/"):
            return False
        at_ms = self.table[key].get("at_ms", 0)
        return bool(at_ms <= now_ms - COMMAND_MEMORY_MS)

    def _put(self, kind: str, identity: str | None, document: Document) -> None:
        self.table[record_key(kind, identity or "")] = document

    def _deployment(self, event: AuditEvent) -> Document:
        """Return what is known of the deployment, to be changed: of an unknown one nothing."""
        key = record_key("deployment", event.data.deployment_id or "")
        return self.table.setdefault(key, {})

    def _deployed(self, asset_id: str) -> Document:
        manifest = self.table.get(record_key("asset", asset_id), {}).get("manifest")
        return {"asset_id": asset_id, "manifest": manifest}

    def _begin(self, event: AuditEvent) -> None:
        data = event.data
        known = self._deployment(event)
        if data.status == Status.INITIALIZING:
            known |= {
                "space_id": data.space_id,
                "deployment_id": data.deployment_id,
                "name": data.name,
                "description": data.description,
                "asset": None,
                "history": [],
                "created_at": event.time,
            }
        command = data.command_type.removeprefix("baton.command.").removesuffix(".v1")
        source = event.attributes.get("causationsource", "")
        known |= {
            "status": data.status,
            "revision": data.revision,
            "last_update": event.time,
            "pending": {
                "saga": _SAGAS.get(command),
                "asset": self._deployed(data.after.asset_id if data.after else ""),
                "command_id": data.command_id,
                "command_source": source,
                "command_key": command_key(source, data.command_id),
                "command_type": data.command_type,
                "actor": data.actor,
                "reason": data.reason,
                "comment": data.comment,
                "since": event.time,
                "checks": [check.model_dump(mode="json") for check in data.checks or ()],
            },
        }

    def _switch(self, event: AuditEvent) -> None:
        data = event.data
        known = self._deployment(event)
        asset_id = data.after.asset_id if data.after else ""
        entry = {
            "revision": data.revision,
            "asset_id": asset_id,
            "at": event.time,
            "command_id": data.command_id,
        }
        pending = known.get("pending") or {}
        known |= {
            "status": Status.DEPLOYED.value,
            "revision": data.revision,
            "asset": pending.get("asset") or self._deployed(asset_id),
            "pending": None,
            "history": [*known.get("history", []), entry][-HISTORY:],
            "last_update": event.time,
        }

    def _keep(self, event: AuditEvent) -> None:
        known = self._deployment(event)
        status = Status.DEPLOYED if known.get("asset") else Status.FAILED
        known |= {"status": status.value, "pending": None, "last_update": event.time}

    def _delete(self, event: AuditEvent) -> None:
        known = self._deployment(event)
        known |= {
            "status": Status.DELETED.value,
            "revision": event.data.revision,
            "asset": None,
            "pending": None,
            "history": [],
            "last_update": event.time,
        }

    def _remember(self, event: AuditEvent) -> None:
        data = event.data
        source = event.attributes.get("causationsource", "")
        key = record_key("command", command_key(source, data.command_id))
        known = self.table.get(key, {})
        command = {
            "space_id": data.space_id,
            "command_id": data.command_id,
            "source": source,
            "command_type": data.command_type,
        }
        if event.name not in FINAL:
            rest: Document = {"outcome": ACCEPTED, "at_ms": _ms(event.time)}
        elif known:
            rest = {"outcome": _outcome(event), "at_ms": known["at_ms"], "trial": None}
        elif data.dry_run:
            # A dry run leaves no event when it begins: what came then is not known.
            self.table[key] = command | {"outcome": _outcome(event), "trial": None}
            return
        else:
            rest = {"outcome": _outcome(event), "at_ms": _ms(event.time), "trial": None}
        rejected = event.name == EventName.COMMAND_REJECTED
        subject = None if rejected else event.attributes.get("subject")
        self.table[key] = command | rest | {"subject": subject}


def difference(expected: Any, actual: Any) -> tuple[Any, Any] | None:  # noqa: ANN401 - JSON values
    """Return the parts in which ``actual`` is not what the events say, or None.

    Objects are compared in the members that ``expected`` has; anything else whole.
    """
    if not (isinstance(expected, Mapping) and isinstance(actual, Mapping)):
        return None if expected == actual else (expected, actual)
    found = {
        name: parts
        for name, value in expected.items()
        if (parts := difference(value, actual.get(name))) is not None
    }
    if not found:
        return None
    return {n: parts[0] for n, parts in found.items()}, {n: parts[1] for n, parts in found.items()}


def _space(event: AuditEvent) -> Document:
    data = event.data
    return {
        "space_id": data.space_id,
        "name": data.name,
        "description": data.description,
        "created_at": event.time,
        "command_id": data.command_id,
    }


def _asset(event: AuditEvent, manifest: Document | None) -> Document:
    if manifest is not None:
        # With the members that an event leaves out: none can be added to a record unseen. What is
        # no manifest stays as it is, and no record will equal it.
        with suppress(ValidationError):
            manifest = Manifest.model_validate(manifest).model_dump(mode="json")
    return {
        "space_id": event.data.space_id,
        "asset_id": event.data.asset_id,
        "manifest": manifest,
        "created_at": event.time,
        "command_id": event.data.command_id,
        "deleted": manifest is None,
    }


def _outcome(event: AuditEvent) -> str:
    if event.name == EventName.COMMAND_REJECTED:
        return event.data.code or ""
    failed = event.name == EventName.UPDATE_FAILED or event.data.passed is False
    return "failed" if failed else "done"


def _ms(time: str) -> int:
    try:
        return round(datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError:
        return 0
