"""A topic, followed from some way before its present end: what the console's views are made of."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from schemas.topics import Topic
from transport.reading import POLL_MS, new_consumer, partitions_of

START_TIMEOUT_S = 60.0

Take = Callable[[Any], None]
OnFailure = Callable[[BaseException], None]


class Follower:
    """Gives ``take`` each committed record of ``topic``, and ``on_failure`` what ends that.

    Of what is there already at the start: the last ``records`` of each partition, and of those
    what is no older than ``age_s``.
    """

    def __init__(  # noqa: PLR0913 - what, from where, and to whom
        self,
        bootstrap_servers: str,
        topic: Topic,
        take: Take,
        on_failure: OnFailure,
        *,
        records: int,
        age_s: float | None = None,
    ) -> None:
        self._where = partitions_of(topic)
        self._take = take
        self._on_failure = on_failure
        self._records = records
        self._age_s = age_s
        self._consumer = new_consumer(bootstrap_servers)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once what was there at this moment has been taken."""
        consumer = self._consumer
        await consumer.start()
        consumer.assign(self._where)
        begins = await consumer.beginning_offsets(self._where)
        ends = await consumer.end_offsets(self._where)
        young = dict(begins)
        if self._age_s is not None:
            since = int((time.time() - self._age_s) * 1000)
            found = await consumer.offsets_for_times(dict.fromkeys(self._where, since))
            young = {part: ends[part] if at is None else at.offset for part, at in found.items()}
        for part in self._where:
            consumer.seek(part, max(begins[part], ends[part] - self._records, young[part]))
        async with asyncio.timeout(START_TIMEOUT_S):
            while any([await consumer.position(part) < ends[part] for part in self._where]):
                await self._step()
        self._task = asyncio.create_task(self._follow())
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([self._task])
        await self._consumer.stop()

    async def _follow(self) -> None:
        while True:
            await self._step()

    async def _step(self) -> None:
        for records in (await self._consumer.getmany(timeout_ms=POLL_MS)).values():
            for record in records:
                self._take(record)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)
