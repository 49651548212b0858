"""The traffic of the deployments that somebody looks at, followed from the topics alone.

Nobody looks: nothing is read. What is read is bounded, however much comes: of each partition so
many records, and one fetch, in a tick. What lies beyond is passed over, and told by what was read.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from client.traffic import place_of
from console.places import Places
from console.series import WINDOW_S, Series
from schemas.scoring import DEPLOYMENT_ID, STATUS
from transport.consumer import Consumer
from transport.reading import POLL_MS, new_consumer, partitions_of
from transport.settings import Settings

log = logging.getLogger(__name__)

# Nobody has asked for so long: nobody looks any more.
ASKED_S = 60.0
# Those asked for last, at most.
MOST = 50
TICK_S = 0.5
# Of all partitions together in a tick; and of one of them in a fetch.
RECORDS = 10_000
FETCH_BYTES = 1024**2
# What came in the window before somebody asks is read where it is no more than this.
LOOK_BACK = 20_000
LOOK_BACK_TIMEOUT_S = 30.0

Span = Mapping[TopicPartition, tuple[int, int]]


@dataclass(slots=True)
class _Watched:
    series: Series = field(default_factory=Series)
    asked_s: float = 0.0


class Meter:
    """Follows requests and responses while somebody asks."""

    def __init__(self, settings: Settings) -> None:
        self._servers = settings.bootstrap_servers
        self._requests = partitions_of(settings.topics.requests)
        self._responses = partitions_of(settings.topics.responses)
        self._watched: dict[str, _Watched] = {}
        self._places: dict[int, Places] = defaultdict(Places)
        self._task: asyncio.Task[None] | None = None
        self._looking: set[asyncio.Task[None]] = set()

    @property
    def measured(self) -> int:
        """How many deployments are followed."""
        return len(self._watched)

    def series(self, deployment_id: str) -> Series:
        """Return what is known of the deployment, which is followed for a minute from now on."""
        # The one that was asked for last becomes the last one.
        watched = self._watched.pop(deployment_id, None) or _Watched()
        watched.asked_s = time.monotonic()
        self._watched[deployment_id] = watched
        while len(self._watched) > MOST:
            del self._watched[next(iter(self._watched))]
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._measure())
        return watched.series

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _measure(self) -> None:
        try:
            await self._follow()
        except (KafkaError, OSError) as error:
            # Charts are not worth a process: whoever asks next begins again.
            log.warning("the traffic of deployments is not measured for now: %s", error)
        finally:
            self._watched.clear()
            self._places.clear()
            for looking in self._looking:
                looking.cancel()
            if self._looking:
                await asyncio.wait(self._looking)

    async def _follow(self) -> None:
        # Requests first: they are known before their answers are looked at.
        where = [*self._requests, *self._responses]
        share = max(RECORDS // len(where), 1)
        consumer = new_consumer(self._servers, FETCH_BYTES)
        try:
            await consumer.start()
            consumer.assign(where)
            for part, end in (await consumer.end_offsets(where)).items():
                consumer.seek(part, end)
            while self._wanted():
                await self._begin(consumer, where)
                await asyncio.sleep(TICK_S)
                for part in where:
                    await self._read(consumer, part, share)
                    # Pages come in between.
                    await asyncio.sleep(0)
        finally:
            await consumer.stop()

    def _wanted(self) -> bool:
        """Forget what nobody looks at; return whether anything is left."""
        before = time.monotonic() - ASKED_S
        for deployment_id in [d for d, each in self._watched.items() if each.asked_s < before]:
            del self._watched[deployment_id]
        return bool(self._watched)

    async def _begin(self, consumer: Consumer, where: list[TopicPartition]) -> None:
        """Count the deployments that were asked for anew from here on, and look at their past."""
        until = {part: await consumer.position(part) for part in where}
        fresh = {d: w.series for d, w in self._watched.items() if w.series.since_s is None}
        if not fresh:
            return
        now_s = time.time()
        for series in fresh.values():
            series.since_s = now_s
        looking = asyncio.create_task(self._look_back(fresh, now_s - WINDOW_S, until))
        self._looking.add(looking)
        looking.add_done_callback(self._looking.discard)

    async def _read(self, consumer: Consumer, part: TopicPartition, share: int) -> None:
        """Take what was fetched of ``part``, up to ``share``, and pass over what lies behind it."""
        begin = await consumer.position(part)
        records = (await consumer.getmany(part, max_records=share)).get(part, [])
        if not records:
            return
        read = await consumer.position(part)
        # As of the last fetch: at most a tick ago.
        end = consumer.last_stable_offset(part) or read
        stands_for = 1.0
        if end > read:
            consumer.seek(part, end)
            stands_for = (end - begin) / (read - begin)
        series = {d: each.series for d, each in self._watched.items() if each.series.since_s}
        for record in records:
            if part in self._requests:
                self._places[part.partition].add(record.offset, record.timestamp)
            else:
                count(record, series, self._places, stands_for)

    async def _look_back(
        self, series: Mapping[str, Series], since_s: float, until: Mapping[TopicPartition, int]
    ) -> None:
        """Read what came between ``since_s`` and the offsets ``until``, unless it is too much."""
        consumer = new_consumer(self._servers, FETCH_BYTES)
        places: dict[int, Places] = defaultdict(Places)
        try:
            async with asyncio.timeout(LOOK_BACK_TIMEOUT_S):
                await consumer.start()
                first = await consumer.offsets_for_times(dict.fromkeys(until, int(since_s * 1000)))
                begins = {
                    part: until[part] if at is None else at.offset for part, at in first.items()
                }
                if sum(max(until[part] - begin, 0) for part, begin in begins.items()) > LOOK_BACK:
                    return
                for parts in (self._requests, self._responses):
                    span = {part: (begins[part], until[part]) for part in parts}
                    async with aclosing(_between(consumer, span)) as records:
                        async for record in records:
                            if parts is self._requests:
                                places[record.partition].add(record.offset, record.timestamp)
                            else:
                                count(record, series, places)
            for each in series.values():
                each.since_s = since_s
        except (KafkaError, OSError) as error:
            log.warning("the past traffic of deployments is not known: %s", error)
        finally:
            await consumer.stop()


def count(
    record: Any,  # noqa: ANN401 - aiokafka's record
    series: Mapping[str, Series],
    places: Mapping[int, Places],
    stands_for: float = 1.0,
) -> None:
    """Count an answer to one of the deployments of ``series``, which stands for so many."""
    headers = dict(record.headers)
    found = series.get((headers.get(DEPLOYMENT_ID) or b"").decode(errors="replace"))
    if found is None:
        return
    place = place_of(record.value or b"")
    asked_ms = None if place is None else places[place[0]].at(place[1])
    found.take(
        record.timestamp / 1000,
        error=headers.get(STATUS) == b"error",
        latency_ms=None if asked_ms is None else record.timestamp - asked_ms,
        stands_for=stands_for,
    )


async def _between(consumer: Consumer, span: Span) -> AsyncGenerator[Any, None]:
    """Yield the records of each partition from its first offset on, before its second."""
    consumer.assign(list(span))
    for part, (begin, _) in span.items():
        consumer.seek(part, begin)
    while any([await consumer.position(part) < end for part, (_, end) in span.items()]):
        for part, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
            for record in records:
                if record.offset < span[part][1]:
                    yield record
            # Pages come in between.
            await asyncio.sleep(0)
