"""The state of one partition in memory, and drafts over it that can be dropped."""

import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar
from uuid import UUID

from schemas.manifest import Manifest
from schemas.manifests import Manifests, Pieces
from schemas.records import (
    ACCEPTED,
    AssetRecord,
    CommandRecord,
    DeploymentRecord,
    Record,
    SpaceRecord,
    Status,
    record_key,
)
from schemas.traces import TraceContext

_COMMAND = record_key("command", "")
_DEPLOYMENT = record_key("deployment", "")
# How a deployment's record goes on behind its manifest where no change of it is pending.
_RESTING = b'},"pending":null,'

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
    command_id: str
    trace: TraceContext | None


class Place(NamedTuple):
    """Where a live deployment is looked up: its space and name, and the assets it holds."""

    space_id: str
    name: str
    deployment_id: str
    assets: tuple[str, ...]


class View:
    """Records by key, with the look-ups that the rules need, each in constant time.

    A view made by ``overlay`` reads through to this one and keeps its changes to itself until
    ``merge``: a batch is decided on it, and dropped where its transaction fails.
    """

    def __init__(self, base: "View | None" = None) -> None:
        self._base = base
        # A record that was read from the table is kept in pieces until a rule asks for it: most
        # deployments rest, and an object takes several times the memory and time.
        self._records: dict[str, Record | Pieces | None] = {}
        self._manifests = Manifests()
        # Of each command, oldest first, when it came (ms): a worker remembers millions of them.
        # The key is a UUID: as a number it takes half of the memory of its text.
        self._commands: dict[int, int | None] = {}
        self._at_ms = 0
        # Those that have not ended, whole.
        self._accepted: dict[int, CommandRecord | None] = {}
        # (space, name) → the deployment that bears it.
        self._names: dict[tuple[str, str], str | None] = {}
        # asset → the deployments that use or await it.
        self._users: dict[str, set[str]] = {}

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
            _carry(self._accepted, base._accepted)  # noqa: SLF001
            _carry(self._names, base._names)  # noqa: SLF001
            _carry(self._users, base._users)  # noqa: SLF001

    def put(self, key: str, record: Record | None) -> None:
        """Set or (None) remove the record under ``key``."""
        if key.startswith(_COMMAND):
            number = _number(key.removeprefix(_COMMAND))
            command = record if isinstance(record, CommandRecord) else None
            at_ms = None if command is None else self._shared(command.at_ms)
            accepted = command is not None and command.outcome == ACCEPTED
            self._set(self._commands, number, at_ms)
            self._set(self._accepted, number, command if accepted else None)
            return
        if key.startswith(_DEPLOYMENT):
            self._index(_place(self._held(key)), _place(record))
        self._set(self._records, key, record)

    def load(self, key: str, value: bytes | None) -> None:
        """Set or (None) remove what the table holds under ``key``, as it is written there.

        Raises pydantic's ValidationError or KeyError where it is no record.
        """
        kept = None if value is None else self._manifests.shared(key, value)
        if isinstance(kept, Pieces) and kept.tail.startswith(_RESTING):
            self._index(_place(self._held(key)), _place(kept))
            self._records[key] = kept
        else:
            self.put(key, None if kept is None else self._manifests.decode(key, kept))

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

    def remembers(self, key: str) -> bool:
        """Return whether the command of that key (schemas.ids.command_key) was seen before."""
        number = _number(key)
        if number in self._commands or self._base is None:
            return self._commands.get(number) is not None
        return self._base.remembers(key)

    def accepted(self, key: str) -> CommandRecord | None:
        """Return the command of that key where it was accepted and has not ended, or None."""
        number = _number(key)
        if number in self._accepted or self._base is None:
            return self._accepted.get(number)
        return self._base.accepted(key)

    def deployment_named(self, space_id: str, name: str) -> str | None:
        """Return the ID of the space's live deployment of that name, or None."""
        where = (space_id, name)
        if where in self._names or self._base is None:
            return self._names.get(where)
        return self._base.deployment_named(space_id, name)

    def users(self, asset_id: str) -> AbstractSet[str]:
        """Return the IDs of the deployments that use or await the asset."""
        if asset_id in self._users or self._base is None:
            return self._users.get(asset_id, frozenset())
        return self._base.users(asset_id)

    def _own_users(self, asset_id: str) -> set[str]:
        """Return those users as this view may change them: a draft's are its own."""
        if asset_id not in self._users:
            self._users[asset_id] = set() if self._base is None else set(self._base.users(asset_id))
        return self._users[asset_id]

    def commands(self) -> Iterator[tuple[str, int]]:
        """Iterate over the commands that the underlying view remembers, oldest first.

        Gives the key of each and when it came (ms).
        """
        root = self if self._base is None else self._base
        for number, at_ms in root._commands.items():  # noqa: SLF001 - its own kind
            if at_ms is not None:
                yield str(UUID(int=number)), at_ms

    def pending_work(self) -> list[Work]:
        """Return every verification that is due: what a new owner takes up."""
        due: list[Work] = []
        for record in [*self._records.values(), *self._accepted.values()]:
            match record:
                case DeploymentRecord(pending=pending) if pending is not None:
                    due.append(
                        Work(
                            "deployment",
                            record.deployment_id,
                            pending.command_key,
                            pending.asset.manifest,
                            pending.deadline,
                            pending.command_id,
                            pending.trace,
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
                            record.command_id,
                            trial.trace,
                        )
                    )
        return due

    def _get(self, key: str) -> Record | None:
        if key not in self._records and self._base is not None:
            return self._base._get(key)  # noqa: SLF001 - its own kind
        held = self._records.get(key)
        if isinstance(held, Pieces):
            # Whoever is asked for once is asked for again, by the same command.
            held = self._records[key] = self._manifests.decode(key, held)
        return held

    def _held(self, key: str) -> Record | Pieces | None:
        if key in self._records or self._base is None:
            return self._records.get(key)
        return self._base._held(key)  # noqa: SLF001 - its own kind

    def _set(self, table: dict[_K, _V], key: _K, value: _V) -> None:
        # Only a draft has to say that something is gone.
        if value is None and self._base is None:
            table.pop(key, None)
        else:
            table[key] = value

    def _shared(self, at_ms: int) -> int:
        """Return the same object for the same time: the broker stamps whole batches with one."""
        if at_ms != self._at_ms:
            self._at_ms = at_ms
        return self._at_ms

    def _index(self, old: Place | None, new: Place | None) -> None:
        if old is not None:
            self._set(self._names, (old.space_id, old.name), None)
            for asset_id in old.assets:
                self._own_users(asset_id).discard(old.deployment_id)
        if new is not None:
            self._names[new.space_id, new.name] = new.deployment_id
            for asset_id in new.assets:
                self._own_users(asset_id).add(new.deployment_id)


def _number(key: str) -> int:
    # As UUID(key).int, in a fifth of its time.
    return int(key.replace("-", ""), 16)


def _carry(changes: dict[_K, _V], into: dict[_K, _V]) -> None:
    for key, value in changes.items():
        # None and the empty set both say: no longer there.
        if value is None or value == set():
            into.pop(key, None)
        else:
            into[key] = value


def _place(record: Record | Pieces | None) -> Place | None:
    """Return where a deployment is looked up; None where it is deleted, or no deployment."""
    if isinstance(record, Pieces):
        rest = record.rest()
        if rest["status"] == Status.DELETED:
            return None
        # Its pending change is read as a record.
        asset = sys.intern(rest["asset"]["asset_id"])
        return Place(sys.intern(rest["space_id"]), rest["name"], rest["deployment_id"], (asset,))
    if not isinstance(record, DeploymentRecord) or record.status is Status.DELETED:
        return None
    held = [change.asset for change in (record, record.pending) if change is not None]
    assets = {asset.asset_id for asset in held if asset is not None}
    return Place(record.space_id, record.name, record.deployment_id, tuple(assets))
