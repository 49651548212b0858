"""Reading the deployment state table."""

import asyncio
from typing import Any

from schemas.records import AssetRecord, DeploymentRecord, SpaceRecord, Status, decode_record
from transport.settings import Settings
from transport.state_view import StateView

# What is asked for here: of commands there may be millions.
KINDS = ("space", "asset", "deployment")


class StateReader:
    """Reads the state table as it is now: what any event seen before has said is in it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._view: StateView | None = None
        self._viewing = asyncio.Lock()

    async def deployment(self, deployment_id: str) -> DeploymentRecord | None:
        """Return the deployment as the state table has it now, or None."""
        view = await self._current()
        return view.deployment(deployment_id)

    async def deployments(self, space_id: str | None = None) -> list[DeploymentRecord]:
        """Return the deployments that are not deleted, of one space or of all."""
        return [
            record
            for record in await self._records("deployment/")
            if isinstance(record, DeploymentRecord)
            and record.status is not Status.DELETED
            and space_id in {None, record.space_id}
        ]

    async def assets(self, space_id: str | None = None) -> list[AssetRecord]:
        """Return the assets that are not deleted, of one space or of all."""
        return [
            record
            for record in await self._records("asset/")
            if isinstance(record, AssetRecord)
            and not record.deleted
            and space_id in {None, record.space_id}
        ]

    async def spaces(self) -> list[SpaceRecord]:
        """Return the spaces."""
        return [r for r in await self._records("space/") if isinstance(r, SpaceRecord)]

    async def _records(self, kind: str) -> list[Any]:
        view = await self._current()
        return [decode_record(key, value) for key, value in view.items() if key.startswith(kind)]

    async def _current(self) -> StateView:
        async with self._viewing:
            if self._view is None:
                topic = self._settings.topics.state
                view = StateView(self._settings.bootstrap_servers, topic, kinds=KINDS)
                try:
                    await view.start()
                except BaseException:
                    await view.stop()
                    raise
                self._view = view
                return view
        await self._view.catch_up()
        return self._view

    async def close_view(self) -> None:
        """Stop following the table."""
        if self._view is not None:
            await self._view.stop()
            self._view = None
