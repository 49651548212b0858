"""The state of one partition in memory, and drafts over it that can be dropped."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from schemas.manifest import Manifest
from schemas.records import (
    AssetRecord,
    CommandRecord,
    DeploymentRecord,
    Record,
    SpaceRecord,
    Status,
    record_key,
)

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Work:
    """A verification that is due: of a deployment's pending change, or of a dry run."""

    kind: Literal["deployment", "trial"]
    id: str
    command_key: str
    manifest: Manifest
    deadline: str


class View:
    """Records by key, with the look-ups that the rules need, each in constant time.

    A view made by ``overlay`` reads through to this one and keeps its changes to itself until
    ``merge``: a batch is decided on it, and dropped where its transaction fails.
    """

    def __init__(self, base: "View | None" = None) -> None:
        self._base = base
        self._records: dict[str, Record | None] = {}
        # Apart from the rest, so that the oldest are found without passing over everything else.
        self._commands: dict[str, CommandRecord | None] = {}
        # (space, name) → the deployment that bears it.
        self._names: dict[tuple[str, str], str | None] = {}
        # asset → the deployments that use or await it.
        self._users: dict[str, frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._records) + len(self._commands)

    def overlay(self) -> "View":
        """Return a draft over this view."""
        return View(self)

    def merge(self) -> None:
        """Carry a draft's changes into the view it lies over."""
        base = self._base
        if base is not None:
            _carry(self._records, base._records)  # noqa: SLF001 - its own kind
            _carry(self._commands, base._commands)  # noqa: SLF001
            _carry(self._names, base._names)  # noqa: SLF001
            _carry(self._users, base._users)  # noqa: SLF001

    def put(self, key: str, record: Record | None) -> None:
        """Set or (None) remove the record under ``key``."""
        if isinstance(record, CommandRecord) or key.startswith("command/"):
            self._commands[key] = record if isinstance(record, CommandRecord) else None
            return
        if key.startswith("deployment/"):
            self._index(self._get(key), record)
        self._records[key] = record

    def space(self, space_id: str) -> SpaceRecord | None:
        """Return the space, or None."""
        record = self._get(record_key("space", space_id))
        return record if isinstance(record, SpaceRecord) else None

    def asset(self, asset_id: str) -> AssetRecord | None:
        """Return the asset, deleted or not, or None."""
        record = self._get(record_key("asset", asset_id))
        return record if isinstance(record, AssetRecord) else None

    def deployment(self, deployment_id: str) -> DeploymentRecord | None:
        """Return the deployment, deleted or not, or None."""
        record = self._get(record_key("deployment", deployment_id))
        return record if isinstance(record, DeploymentRecord) else None

    def command(self, key: str) -> CommandRecord | None:
        """Return what became of a command, or None where it is not remembered."""
        where = record_key("command", key)
        if where in self._commands or self._base is None:
            return self._commands.get(where)
        return self._base.command(key)

    def deployment_named(self, space_id: str, name: str) -> str | None:
        """Return the ID of the space's live deployment of that name, or None."""
        where = (space_id, name)
        if where in self._names or self._base is None:
            return self._names.get(where)
        return self._base.deployment_named(space_id, name)

    def users(self, asset_id: str) -> frozenset[str]:
        """Return the IDs of the deployments that use or await the asset."""
        if asset_id in self._users or self._base is None:
            return self._users.get(asset_id, frozenset())
        return self._base.users(asset_id)

    def commands(self) -> Iterator[tuple[str, CommandRecord]]:
        """Iterate over the remembered commands of the underlying view, oldest first."""
        root = self if self._base is None else self._base
        for key, record in root._commands.items():  # noqa: SLF001 - its own kind
            if record is not None:
                yield key, record

    def pending_work(self) -> list[Work]:
        """Return every verification that is due: what a new owner takes up."""
        due: list[Work] = []
        for record in [*self._records.values(), *self._commands.values()]:
            match record:
                case DeploymentRecord(pending=pending) if pending is not None:
                    due.append(
                        Work(
                            "deployment",
                            record.deployment_id,
                            pending.command_key,
                            pending.asset.manifest,
                            pending.deadline,
                        )
                    )
                case CommandRecord(trial=trial) if trial is not None:
                    due.append(
                        Work(
                            "trial",
                            trial.command_key,
                            trial.command_key,
                            trial.asset.manifest,
                            trial.deadline,
                        )
                    )
        return due

    def _get(self, key: str) -> Record | None:
        if key in self._records or self._base is None:
            return self._records.get(key)
        return self._base._get(key)  # noqa: SLF001 - its own kind

    def _index(self, old: Record | None, new: Record | None) -> None:
        if isinstance(old, DeploymentRecord) and old.status is not Status.DELETED:
            self._names[old.space_id, old.name] = None
            for asset_id in _assets(old):
                self._users[asset_id] = self.users(asset_id) - {old.deployment_id}
        if isinstance(new, DeploymentRecord) and new.status is not Status.DELETED:
            self._names[new.space_id, new.name] = new.deployment_id
            for asset_id in _assets(new):
                self._users[asset_id] = self.users(asset_id) | {new.deployment_id}


def _carry(changes: dict[_K, _V], into: dict[_K, _V]) -> None:
    for key, value in changes.items():
        # None and the empty set both say: no longer there.
        if value:
            into[key] = value
        else:
            into.pop(key, None)


def _assets(record: DeploymentRecord) -> set[str]:
    held = {record.asset.asset_id} if record.asset is not None else set()
    return held | ({record.pending.asset.asset_id} if record.pending is not None else set())
