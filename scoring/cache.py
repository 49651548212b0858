"""Loaded models: few at a time, the least recently used out first."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from artifacts.load import LoadedModel
from schemas.manifest import Manifest
from schemas.scoring import ScoringCode
from scoring.errors import ScoringError

log = logging.getLogger(__name__)

# A file that could not be loaded is not tried again for every batch.
RETRY_S = 5.0

Load = Callable[[Manifest], LoadedModel]


class ModelCache:
    """Loads models off the event loop and keeps them within ``max_models`` and ``max_bytes``.

    Sizes are the files': what a model takes in memory is not known, and is of that order.
    """

    def __init__(self, load: Load, *, max_models: int, max_bytes: int) -> None:
        self._load = load
        self._max_models = max_models
        self._max_bytes = max_bytes
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}
        self._failed: dict[str, tuple[float, str]] = {}

    async def get(self, manifest: Manifest) -> LoadedModel:
        """Return the model, loading it where it is not there. Raises asset_unavailable."""
        key = _key(manifest)
        model = self._models.get(key)
        if model is not None:
            self._models.move_to_end(key)
            return model
        failed = self._failed.get(key)
        if failed is not None and time.monotonic() < failed[0]:
            raise ScoringError(ScoringCode.ASSET_UNAVAILABLE, failed[1])
        loading = self._loading.get(key)
        if loading is None:
            loading = self._loading[key] = asyncio.create_task(self._loaded(key, manifest))
        # Others wait for the same task: one who gives up must not take it from them.
        return await asyncio.shield(loading)

    def prefetch(self, manifest: Manifest) -> None:
        """Begin to load a model that will be needed soon."""
        key = _key(manifest)
        if key not in self._models and key not in self._loading:
            task = self._loading[key] = asyncio.create_task(self._loaded(key, manifest))
            # A failure is told to whoever needs the model; nobody may be waiting yet.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _loaded(self, key: str, manifest: Manifest) -> LoadedModel:
        begin = time.monotonic()
        try:
            model = await asyncio.to_thread(self._load, manifest)
        except Exception as error:
            message = f"model {manifest.name!r} cannot be loaded: {type(error).__name__}: {error}"
            log.error("%s", message)  # noqa: TRY400 - the message says it; the trace is a stranger's
            self._failed[key] = (time.monotonic() + RETRY_S, message[:1000])
            raise ScoringError(ScoringCode.ASSET_UNAVAILABLE, message[:1000]) from error
        finally:
            del self._loading[key]
        self._failed.pop(key, None)
        self._models[key] = model
        self._evict()
        log.info("model loaded name=%r seconds=%.3f", manifest.name, time.monotonic() - begin)
        return model

    def _evict(self) -> None:
        size = sum(model.size_bytes for model in self._models.values())
        while len(self._models) > 1 and (
            len(self._models) > self._max_models or size > self._max_bytes
        ):
            _, model = self._models.popitem(last=False)
            size -= model.size_bytes


def _key(manifest: Manifest) -> str:
    # The same file may stand in two manifests, with other field types.
    return f"{manifest.sha256}:{hash(manifest.input_schema)}"
