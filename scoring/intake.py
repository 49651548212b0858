"""The requests of one partition, read while the batch before them is being answered."""

import asyncio
from collections import deque
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from transport.futures import retrieve

POLL_MS = 500
# What is read ahead: a batch, or values of so many bytes.
AHEAD_BYTES = 8 * 1024**2


class Intake:
    """Takes each record from the consumer as soon as it is fetched, up to a batch ahead.

    aiokafka fetches nothing from a broker while it has records of any partition there that nobody
    has taken: left with it until the batch in hand is done, one request would hold up all that
    come after it, in each partition, for a batch more.
    """

    def __init__(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, max_batch: int
    ) -> None:
        self._consumer = consumer
        self._partition = partition
        self._max_batch = max_batch
        # As they were fetched: records, and the bytes of their values.
        self._ahead: deque[tuple[list[Any], int]] = deque()
        self._changed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read on from where the consumer is."""
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda _: self._changed.set())

    async def stop(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
            retrieve(self._reading)

    async def take(self) -> list[Any]:
        """Wait for records and return them, a batch at most. Raises what ended the reading."""
        while not self._ahead:
            if self._reading is not None and self._reading.done():
                self._reading.result()
            await self._change()
        taken, _ = self._ahead.popleft()
        while self._ahead and len(taken) + len(self._ahead[0][0]) <= self._max_batch:
            taken += self._ahead.popleft()[0]
        self._changed.set()
        return taken

    async def _read(self) -> None:
        while True:
            while self._is_full():
                await self._change()
            fetched = await self._consumer.getmany(
                self._partition, timeout_ms=POLL_MS, max_records=self._max_batch
            )
            if records := fetched.get(self._partition):
                size = sum(len(record.value or b"") for record in records)
                self._ahead.append((records, size))
                self._changed.set()

    def _is_full(self) -> bool:
        records = sum(len(records) for records, _ in self._ahead)
        return records >= self._max_batch or sum(size for _, size in self._ahead) >= AHEAD_BYTES

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
