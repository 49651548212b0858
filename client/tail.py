"""The end of a topic, followed for those who wait for something in it."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer

from schemas.topics import Topic
from transport.reading import POLL_MS, new_consumer, partitions_of
from transport.settings import Settings

T = TypeVar("T")

Take = Callable[[Any], None]


class Tail(Generic[T]):
    """Gives ``take`` each record that comes after ``start``, and keeps who waits for what.

    Should reading fail, all who wait get the error: nobody hangs.
    """

    def __init__(self, settings: Settings, topic: Topic, take: Take) -> None:
        self._topic = topic
        self._take = take
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self.waiting: dict[str, asyncio.Future[T]] = {}

    async def start(self) -> None:
        """Begin at the topic's present end: what is asked for after this cannot be missed."""
        consumer = self._consumer = new_consumer(self._settings.bootstrap_servers)
        await consumer.start()
        where = partitions_of(self._topic)
        consumer.assign(where)
        for partition, end in (await consumer.end_offsets(where)).items():
            consumer.seek(partition, end)
        self._task = asyncio.create_task(self._follow(consumer))
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._consumer is not None:
            await self._consumer.stop()

    @contextlib.contextmanager
    def expected(self, key: str) -> Iterator["asyncio.Future[T]"]:
        """Wait for ``key`` within the block: ``take`` settles the future.

        Raises ValueError where someone waits for it already.
        """
        if key in self.waiting:
            raise ValueError(f"{key} is being waited for already: ids are used once")
        if self._task is not None and self._task.done():
            self._task.result()
        self.waiting[key] = asyncio.get_running_loop().create_future()
        try:
            yield self.waiting[key]
        finally:
            # Nobody may have awaited an error that came too late.
            self.waiting.pop(key).cancel()

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    self._take(record)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(error or ConnectionError("the client was closed"))
