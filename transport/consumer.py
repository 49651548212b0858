"""aiokafka's consumer, made to stop whenever it is told to."""

import asyncio

from aiokafka import AIOKafkaConsumer

# Between two attempts to end its fetching.
AGAIN_S = 0.1


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer whose ``stop`` ends.

    aiokafka 0.14 cancels the task that fetches, once. That task loses it where it comes while it
    cancels fetches of its own, because partitions were assigned or revoked a moment before: then
    ``stop`` would wait for ever.
    """

    async def stop(self) -> None:
        """Stop fetching, leave the group, disconnect."""
        stopping = asyncio.ensure_future(super().stop())
        try:
            while not stopping.done():
                await asyncio.wait([stopping], timeout=AGAIN_S)
                if not stopping.done() and self._fetcher is not None and self._closed:
                    self._fetcher._fetch_task.cancel()  # noqa: SLF001 - there is no other way
        except asyncio.CancelledError:
            stopping.cancel()
            raise
        await stopping
