"""The deployment state table, as the console shows it."""

import asyncio
import time

import orjson

from console.following import OnFailure
from schemas.ids import command_key
from schemas.records import (
    AssetRecord,
    CommandRecord,
    DeploymentRecord,
    SpaceRecord,
    Status,
    decode_record,
    record_key,
)
from transport.settings import Settings
from transport.state_view import StateView

# A page waits no longer for a broker that is away.
CATCH_UP_TIMEOUT_S = 5.0
WATCH_S = 5.0
# In the record of a command that is a dry run under way.
_TRIAL = b'"trial":{'


class State:
    """A view of the state table. Of the commands it keeps those of ``source`` alone.

    ``current`` first: what any event seen before has said is in the answers after it.
    """

    def __init__(self, settings: Settings, source: str) -> None:
        self._source = source
        self._mark = orjson.dumps(source)
        self._spaces: dict[str, SpaceRecord] = {}
        # By space too: two spaces of two partitions may each have an asset of the same ID.
        self._assets: dict[tuple[str, str], AssetRecord] = {}
        self._deployments: dict[str, None] = {}
        self._commands: dict[str, bytes] = {}
        self._current_s = time.monotonic()
        self._view = StateView(
            settings.bootstrap_servers,
            settings.topics.state,
            kinds=("deployment",),
            on_change=self._take,
        )

    async def start(self) -> None:
        """Read the table, then follow it."""
        await self._view.start()

    async def stop(self) -> None:
        """Stop following."""
        await self._view.stop()

    async def current(self) -> "State":
        """Return this view once it holds all that the table holds now. Raises TimeoutError."""
        await self._view.catch_up(CATCH_UP_TIMEOUT_S)
        self._current_s = time.monotonic()
        return self

    @property
    def age_s(self) -> float:
        """How long ago it was last seen to be current: a broker that is away lets it grow."""
        return time.monotonic() - self._current_s

    async def watch(self, on_failure: OnFailure) -> None:
        """Call ``on_failure`` once the view cannot become current any more.

        A broker that is away is no failure: then waiting is right.
        """
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self.current()
            except (TimeoutError, OSError):
                continue
            except Exception as error:  # noqa: BLE001 - whatever has ended the view
                if not getattr(error, "retriable", False):
                    on_failure(error)
                    return

    def spaces(self) -> list[SpaceRecord]:
        """Return every space, by ID."""
        return [self._spaces[space_id] for space_id in sorted(self._spaces)]

    def space(self, space_id: str) -> SpaceRecord | None:
        """Return the space, or None."""
        return self._spaces.get(space_id)

    def assets(self, space_id: str | None = None) -> list[AssetRecord]:
        """Return the assets that are not deleted, of one space or of all, newest first."""
        found = [
            asset
            for (space, _), asset in self._assets.items()
            if not asset.deleted and space_id in {None, space}
        ]
        return sorted(found, key=lambda asset: (asset.created_at, asset.asset_id), reverse=True)

    def asset(self, space_id: str, asset_id: str) -> AssetRecord | None:
        """Return the asset, or None where there is none or it was deleted."""
        found = self._assets.get((space_id, asset_id))
        return None if found is None or found.deleted else found

    def deployments(
        self, space_id: str | None = None, asset_id: str | None = None
    ) -> list[DeploymentRecord]:
        """Return the deployments that are not deleted, newest first.

        Those of one space, or that serve or await one asset, or all.
        """
        found = [
            record
            for deployment_id in self._deployments
            if (record := self._view.deployment(deployment_id)) is not None
            and record.status is not Status.DELETED
            and space_id in {None, record.space_id}
            and (asset_id is None or asset_id in _assets_of(record))
        ]
        return sorted(found, key=lambda r: (r.created_at, r.deployment_id), reverse=True)

    def deployment(self, deployment_id: str) -> DeploymentRecord | None:
        """Return the deployment, deleted or not, or None."""
        return self._view.deployment(deployment_id)

    def command(self, command_id: str) -> CommandRecord | None:
        """Return what is known of a command of the console's; None: not applied, or long ago."""
        value = self._commands.get(command_key(self._source, command_id))
        return None if value is None else CommandRecord.model_validate_json(value)

    def trials(self, deployment_id: str) -> set[str]:
        """Return the assets that dry runs of the console's try for the deployment now."""
        mark = orjson.dumps(deployment_id)
        found = [
            CommandRecord.model_validate_json(value).trial
            for value in self._commands.values()
            if _TRIAL in value and mark in value
        ]
        return {t.asset.asset_id for t in found if t and t.deployment_id == deployment_id}

    def _take(self, key: str, value: bytes | None) -> None:
        kind, _, identity = key.partition("/")
        if kind == "command":
            if value is not None and self._mark in value:
                self._commands[identity] = value
            else:
                self._commands.pop(identity, None)
        elif value is None:
            return
        elif kind == "deployment":
            self._deployments[identity] = None
        # A newer worker may write kinds that are unknown here.
        elif kind in {"space", "asset"}:
            self._keep(decode_record(record_key(kind, identity), value))

    def _keep(self, record: object) -> None:
        if isinstance(record, SpaceRecord):
            self._spaces[record.space_id] = record
        elif isinstance(record, AssetRecord):
            self._assets[record.space_id, record.asset_id] = record


def _assets_of(record: DeploymentRecord) -> set[str]:
    pending = record.pending.asset.asset_id if record.pending else None
    serving = record.asset.asset_id if record.asset else None
    return {asset_id for asset_id in (serving, pending) if asset_id is not None}
