"""Models, each in a process of its own: loaded, asked, timed, killed."""

import asyncio
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from artifacts.frames import Layout, Matrix
from artifacts.processes import ForkServer, ModelGoneError, ModelRaisedError, Process
from artifacts.store import Store
from artifacts.wire import Column, WireError, unpack
from schemas.errors import StoreError
from schemas.manifest import Manifest

T = TypeVar("T")

# Values of a matrix that is built on the event loop, in a millisecond or two: larger ones would
# hold up who has little to ask, and for smaller ones the thread would cost more than the matrix.
AT_ONCE = 60_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one process: seconds to load, seconds for one call, bytes beyond the libraries."""

    load_s: float = 60.0
    predict_s: float = 10.0
    memory_bytes: int = 4 * 1024**3


class Hosts:
    """Loads models from ``store``, each into a process forked for it alone."""

    def __init__(self, store: Store, limits: Limits, *, at_once: int) -> None:
        self._store = store
        self._limits = limits
        self._server = ForkServer()
        self._processes: set[Process] = set()
        # What would hold up the event loop: files, forks, large matrices.
        self._threads = ThreadPoolExecutor(at_once, "model")

    async def start(self) -> None:
        """Start what forks (2 s: it imports scikit-learn); ``load`` does it where nobody has."""
        await self._run(self._server.start)

    async def stop(self) -> None:
        """End every process, whatever it is at."""
        # Not in a thread: they may all be taken. Who waits for a model hears that it has died.
        self._server.close()
        await asyncio.gather(*[process.end() for process in self._processes])
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def load(self, manifest: Manifest) -> "HostedModel":
        """Load the model of ``manifest``, its digest checked before its bytes are unpickled.

        Raises StoreError where the file is not to be had, not the one that was saved, or was
        written by another version than the manifest says; ModelRaisedError, ModelDiedError and
        ModelOverdueError for what loading it does.
        """
        if manifest.input_schema is None:
            raise StoreError(
                f"model {manifest.name!r} has no input schema: it cannot read a request"
            )
        content = await self._run(self._store.read, manifest.uri, manifest.sha256)
        process = await self._run(Process, self._server, self._limits.memory_bytes)
        self._processes = {process, *(other for other in self._processes if other.alive)}
        try:
            head, _ = await process.ask(content, limit_s=self._limits.load_s)
        except ModelRaisedError:
            await process.end()
            raise
        if head.get("version") != manifest.framework.version:
            await process.end()
            raise StoreError(
                f"{manifest.uri} was written by scikit-learn {str(head.get('version'))[:40]}, its "
                f"manifest says {manifest.framework.version}"
            )
        layout = Layout(manifest.input_schema, as_frame=head.get("as_frame") is True)
        return HostedModel(
            manifest, layout, len(content), process, self._threads, self._limits.predict_s
        )

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


class HostedModel:
    """A model ready to predict, one call at a time. ``size_bytes`` is its file's size."""

    def __init__(  # noqa: PLR0913, PLR0917 - only Hosts makes them
        self,
        manifest: Manifest,
        layout: Layout,
        size_bytes: int,
        process: Process,
        threads: ThreadPoolExecutor,
        limit_s: float,
    ) -> None:
        self.manifest = manifest
        self.layout = layout
        self.size_bytes = size_bytes
        self._process = process
        self._threads = threads
        self._limit_s = limit_s
        self._turn = asyncio.Lock()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.alive

    async def predict(
        self, build: Callable[[], Matrix], rows: int = 1
    ) -> tuple[Column, Column | None]:
        """Predict on what ``build`` returns (rows, fields), for many ``rows`` built in a thread.

        Returns predictions and, where there are any, probabilities; their shapes are the model's
        word. Raises what ``build`` raises, and ModelRaisedError, ModelDiedError, ModelGoneError or
        ModelOverdueError.
        """
        await self._turn.acquire()
        call = asyncio.create_task(self._predict(build, rows))
        # Whoever gives up must not let the next one speak before this answer has come.
        call.add_done_callback(self._ended)
        return await asyncio.shield(call)

    async def close(self) -> None:
        """End its process, once it has answered what it was asked."""
        async with self._turn:
            await self._process.end()

    def _ended(self, call: "asyncio.Task[Any]") -> None:
        self._turn.release()
        if not call.cancelled():
            call.exception()

    async def _predict(
        self, build: Callable[[], Matrix], rows: int
    ) -> tuple[Column, Column | None]:
        process = self._process
        if not process.alive:
            raise ModelGoneError("its process has ended")
        if rows * len(self.layout.schema.fields) <= AT_ONCE:
            body = _pickled(build)
        else:
            loop = asyncio.get_running_loop()
            try:
                body = await loop.run_in_executor(self._threads, _pickled, build)
            except RuntimeError as error:
                raise ModelGoneError("models are asked no more: the agent stops") from error
        head, answer = await process.ask(body, limit_s=self._limit_s)
        try:
            labels, *shares = unpack(head.get("columns"), answer)
        except (WireError, ValueError) as error:
            raise await process.died(f"answered {error}") from None
        return labels, shares[0] if shares else None


def _pickled(build: Callable[[], Matrix]) -> bytes:
    return pickle.dumps(build(), pickle.HIGHEST_PROTOCOL)
