"""From a deployment ID to the asset that serves it now."""

import asyncio
import time
from dataclasses import dataclass

from schemas.records import DeploymentRecord, Status, record_key
from schemas.scoring import ScoringCode
from schemas.topics import Topic
from scoring.cache import ModelCache, ModelRef
from scoring.codecs.tables import Served
from scoring.errors import ScoringError
from transport.fence import Fence
from transport.state_view import StateView

POLL_S = 0.005
_PREFIX = record_key("deployment", "")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a deployment serves now."""

    served: Served
    model: ModelRef


class Resolver:
    """Follows the state table, and has the models that it names loaded ahead."""

    def __init__(self, bootstrap_servers: str, state_topic: Topic, cache: ModelCache) -> None:
        self._view = StateView(
            bootstrap_servers, state_topic, kinds=["deployment"], on_change=self._changed
        )
        self._cache = cache
        # Put together once for each record of a deployment that serves.
        self._endpoints: dict[str, tuple[DeploymentRecord, Endpoint]] = {}
        self._fence = Fence(self._view.catch_up)
        self._started = False

    async def start(self) -> None:
        """Read the state table to its end, then follow it."""
        await self._view.start()
        # From now on: at a start, what is pending anywhere is not worth loading at once.
        self._started = True

    async def stop(self) -> None:
        """Stop following."""
        await self._view.stop()

    async def fence(self) -> None:
        """Wait until everything that was in the state table when this was called is known.

        Called after a batch was fetched: so no request in it is answered by a revision older than
        one whose event was visible when the request was appended.
        """
        await self._fence.wait()

    async def reach(self, deployment_id: str, revision: int, timeout_s: float) -> None:
        """Wait, at most ``timeout_s``, until the deployment is at ``revision`` or beyond."""
        deadline = time.monotonic() + timeout_s
        while self.revision(deployment_id) < revision:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(POLL_S)

    def revision(self, deployment_id: str) -> int:
        """Return the revision that serves now; 0 where none does."""
        record = self._view.deployment(deployment_id)
        return 0 if record is None else record.revision

    def resolve(self, deployment_id: str) -> Endpoint:
        """Return what serves ``deployment_id``. Raises ScoringError."""
        record = self._view.deployment(deployment_id)
        known = self._endpoints.get(deployment_id)
        if known is not None and known[0] is record:
            return known[1]
        self._endpoints.pop(deployment_id, None)
        if record is None:
            raise ScoringError(
                ScoringCode.DEPLOYMENT_NOT_FOUND,
                f"there is no deployment {deployment_id}",
                "deployment_id",
            )
        if record.status is Status.DELETED:
            raise ScoringError(
                ScoringCode.DEPLOYMENT_DELETED,
                f"deployment {deployment_id} was deleted",
                "deployment_id",
            )
        if record.asset is None:
            raise ScoringError(
                ScoringCode.DEPLOYMENT_NOT_READY,
                f"deployment {deployment_id} is {record.status}: it has never served",
                "deployment_id",
            )
        served = Served(deployment_id, record.asset.asset_id, record.revision)
        endpoint = Endpoint(served, ModelRef.of(record.asset.manifest))
        self._endpoints[deployment_id] = (record, endpoint)
        return endpoint

    def _changed(self, key: str, value: bytes | None) -> None:
        """Load a pending asset ahead, once it is verified, so that the switch costs nothing."""
        # A cheap look first: most records of the table are of other kinds.
        if not self._started or not key.startswith(_PREFIX) or not value:
            return
        if b'"verified":true' in value:
            record = DeploymentRecord.model_validate_json(value)
            if record.pending is not None and record.pending.verified:
                self._cache.prefetch(record.pending.asset.manifest)
