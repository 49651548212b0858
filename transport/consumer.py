"""aiokafka's consumer, made to stop whenever it is told to."""

import asyncio

from aiokafka import AIOKafkaConsumer

# Between two attempts to end its fetching.
AGAIN_S = 0.1


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer whose ``stop`` ends, and ends all of it.

    aiokafka 0.14 cancels the task that fetches, once, and each fetch under way. The task loses it
    where it comes while it cancels fetches of its own, because partitions were assigned or revoked
    a moment before: then ``stop`` would wait for ever. A fetch that has failed and waits to be
    tried again raises it: then ``stop`` would leave the rest undone.
    """

    async def stop(self) -> None:
        """Stop fetching, leave the group, disconnect."""
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
