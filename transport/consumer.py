"""aiokafka's consumer, made to stop whenever it is told to, and to leave nothing open."""

import asyncio

from aiokafka import AIOKafkaConsumer

from transport.futures import retrieve

# Between two attempts to end its fetching.
AGAIN_S = 0.1


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer whose ``stop`` ends, and ends all of it, whoever is cancelled meanwhile.

    aiokafka 0.14 cancels the task that fetches, once, and each fetch under way. The task loses it
    where it comes while it cancels fetches of its own, because partitions were assigned or revoked
    a moment before: then ``stop`` would wait for ever. A fetch that has failed and waits to be
    tried again raises it: then ``stop`` would leave the rest undone. Its ``start`` leaves a
    connection open where it fails or is cancelled, and so does its ``stop`` where it is: as in each
    ``finally`` of a scope that cancels again and again (anyio, below a page that is closed).
    """

    _starting: "asyncio.Task[None] | None" = None
    _stopping: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        """Connect. Where it raises, or who waits is cancelled, it needs no ``stop``."""
        self._starting = asyncio.create_task(super().start())
        try:
            await asyncio.shield(self._starting)
        except asyncio.CancelledError:
            self._begin_stop()
            raise
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop fetching, leave the group, disconnect. Goes on where who waits is cancelled."""
        await asyncio.shield(self._begin_stop())

    def _begin_stop(self) -> "asyncio.Task[None]":
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
            _STOPPING.add(self._stopping)
            self._stopping.add_done_callback(_STOPPING.discard)
            # Told to whoever waits for it, and nobody may.
            self._stopping.add_done_callback(retrieve)
        return self._stopping

    async def _stop(self) -> None:
        if self._starting is not None:
            await asyncio.wait([self._starting])
            retrieve(self._starting)
        if not self._closed and self._fetcher is not None:
            await self._stop_fetching()
        await super().stop()

    async def _stop_fetching(self) -> None:
        fetching, fetches = self._fetcher._fetch_task, self._fetcher._pending_tasks  # noqa: SLF001
        while not fetching.done():
            fetching.cancel()
            await asyncio.wait([fetching], timeout=AGAIN_S)
        for fetch in fetches:
            fetch.cancel()
        if fetches:
            await asyncio.wait(fetches)
        fetches.clear()


# Kept from the collector until they are done: who waited for them may be gone.
_STOPPING: "set[asyncio.Task[None]]" = set()
