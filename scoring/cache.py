"""Loaded models: few at a time, the least recently used out first."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from artifacts.hosts import HostedModel
from artifacts.processes import ModelDiedError, ModelOverdueError
from schemas.manifest import Manifest
from schemas.scoring import ScoringCode
from scoring.errors import ScoringError
from scoring.metrics import ScoringMetrics
from scoring.quarantine import Quarantine
from transport.futures import retrieve

log = logging.getLogger(__name__)

# A file that could not be loaded is not tried again for every batch.
RETRY_S = 5.0
SHOWN_CHARS = 1000


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model as a deployment names it; ``key`` tells loaded ones apart."""

    manifest: Manifest
    key: str

    @classmethod
    def of(cls, manifest: Manifest) -> "ModelRef":
        """Return the reference; keep it, for its key takes a look at the whole schema."""
        # The same file may stand in two manifests, with other field types.
        return cls(manifest, f"{manifest.sha256}:{hash(manifest.input_schema)}")


Load = Callable[[Manifest], Awaitable[HostedModel]]


class ModelCache:
    """Loads models once each and keeps them within ``max_models`` and ``max_bytes``.

    Sizes are the files': what a model takes in memory is not known, and is of that order.
    """

    def __init__(
        self,
        load: Load,
        quarantine: Quarantine,
        *,
        max_models: int,
        max_bytes: int,
        metrics: ScoringMetrics | None = None,
    ) -> None:
        self._load = load
        self._quarantine = quarantine
        self._max_models = max_models
        self._max_bytes = max_bytes
        self._metrics = metrics or ScoringMetrics()
        self._models: OrderedDict[str, HostedModel] = OrderedDict()
        self._loading: dict[str, asyncio.Task[HostedModel]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._failed: dict[str, tuple[float, str]] = {}

    async def get(self, ref: ModelRef) -> HostedModel:
        """Return the model, loading it where it is not there (any more).

        Raises ScoringError: asset_unavailable, or model_error while it is in quarantine.
        """
        self._quarantine.refuse(ref.manifest.sha256)
        key = ref.key
        model = self._models.get(key)
        if model is not None and model.alive:
            self._models.move_to_end(key)
            self._metrics.hits.inc()
            return model
        failed = self._failed.get(key)
        if failed is not None and time.monotonic() < failed[0]:
            raise ScoringError(ScoringCode.ASSET_UNAVAILABLE, failed[1])
        # Others wait for the same task: one who gives up must not take it from them.
        return await asyncio.shield(self._begun(ref))

    def prefetch(self, manifest: Manifest) -> None:
        """Begin to load a model that will be needed soon."""
        ref = ModelRef.of(manifest)
        if ref.key not in self._models:
            self._begun(ref)

    def _begun(self, ref: ModelRef) -> "asyncio.Task[HostedModel]":
        """Return the task that loads the model, begun here where it is not under way."""
        loading = self._loading.get(ref.key)
        if loading is None:
            loading = self._loading[ref.key] = asyncio.create_task(
                self._loaded(ref.key, ref.manifest)
            )
            # A failure is told to whoever needs the model; whoever waited may have given up.
            loading.add_done_callback(retrieve)
        return loading

    async def _loaded(self, key: str, manifest: Manifest) -> HostedModel:
        begin = time.monotonic()
        try:
            model = await self._load(manifest)
        except Exception as error:
            self._metrics.load_failures.inc()
            message = f"model {manifest.name!r} cannot be loaded: {error}"[:SHOWN_CHARS]
            told = {"sha256": manifest.sha256}
            log.error("%s", message, extra=told)  # noqa: TRY400 - the message says it
            if isinstance(error, ModelOverdueError):
                self._quarantine.overdue(manifest.sha256, message)
            elif isinstance(error, ModelDiedError):
                self._quarantine.died(manifest.sha256, message)
            self._failed[key] = (time.monotonic() + RETRY_S, message)
            raise ScoringError(ScoringCode.ASSET_UNAVAILABLE, message) from error
        finally:
            del self._loading[key]
        self._failed.pop(key, None)
        if key in self._models:
            self._metrics.restarts.inc()
        self._models[key] = model
        self._evict()
        took = time.monotonic() - begin
        self._metrics.loads.inc()
        self._metrics.load.observe(took)
        self._metrics.models.set(len(self._models))
        log.info(
            "model loaded name=%r seconds=%.3f",
            manifest.name,
            took,
            extra={"sha256": manifest.sha256},
        )
        return model

    def _evict(self) -> None:
        size = sum(model.size_bytes for model in self._models.values())
        while len(self._models) > 1 and (
            len(self._models) > self._max_models or size > self._max_bytes
        ):
            _, model = self._models.popitem(last=False)
            size -= model.size_bytes
            self._metrics.evictions.inc()
            closing = asyncio.create_task(model.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
