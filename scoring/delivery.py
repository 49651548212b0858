"""How an agent takes partitions over and commits their answers: each once, or at least once.

One transaction holds the answers and offsets of all partitions that are ready, as in KIP-447
(https://cwiki.apache.org/confluence/display/KAFKA/KIP-447). Kafka's own fence is the generation of
the group in each commit of offsets, which aiokafka does not send; the fence here is the
transactional id of whoever held the partition, written into the metadata of its offset.
"""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, ProducerFenced

from scoring.places import Place
from scoring.settings import EXACTLY_ONCE, ScoringSettings
from transport.futures import retrieve
from transport.transactions import FencedProducer, PlainProducer, Write

# Of one transaction, unless a single partition has more: it has a time limit, and whatever else the
# agent does waits while they are put into record batches.
ANSWERS_AT_ONCE = 16_000


class Delivery(Protocol):
    """What an agent's partitions have in common, from their assignment to their revocation."""

    async def take(self, partition: TopicPartition) -> Place:
        """Return where the partition stands; none of its earlier holders moves it any more.

        Raises ProducerFenced where the group has given it to another member by now.
        """

    def prepare(self) -> None:
        """Begin what ``commit`` ends, while the answers are being made."""

    async def commit(
        self, writes: Sequence[Write], partition: TopicPartition, place: Place
    ) -> None:
        """Store answers and place. Raises ProducerFenced where another has taken the partition."""

    async def stop(self) -> None:
        """Disconnect, once no partition is left."""


def new_delivery(settings: ScoringSettings, consumer: AIOKafkaConsumer) -> Delivery:
    """Return what the partitions of one assignment of ``consumer`` are committed by."""
    servers = settings.kafka.bootstrap_servers
    if settings.delivery == EXACTLY_ONCE:
        return ExactlyOnce(servers, consumer, settings.group)
    return AtLeastOnce(servers, consumer)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one partition has to commit, and who waits for it."""

    writes: Sequence[Write]
    partition: TopicPartition
    place: Place
    done: "asyncio.Future[None]"


class _Starts:
    """What all partitions wait for, each begun by the first of them."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def once(self, name: str, start: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait until ``start`` has ended. Raises what it raises."""
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(start())
            self._tasks[name].add_done_callback(retrieve)
        await asyncio.shield(self._tasks[name])

    async def stop(self) -> None:
        """Cancel what is still under way."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())


class ExactlyOnce:
    """A term: one transactional id of its own for all partitions of an assignment.

    Taking a partition over is to fence the term that its committed offset names, to read that
    offset again, and to commit it with this term's name, which the coordinator refuses to members
    of an earlier generation. So whoever may write for a partition is named there before it does,
    and is fenced before anybody else does.
    """

    def __init__(self, servers: str, consumer: AIOKafkaConsumer, group: str) -> None:
        self._servers = servers
        self._consumer = consumer
        self._group = group
        self.name = uuid.uuid4().hex
        self._producer = FencedProducer(servers, self._identity(self.name))
        # By term: this one's producer, and the fencing of earlier ones.
        self._starts = _Starts()
        self._waiting: list[_Part] = []
        self._committing: asyncio.Task[None] | None = None
        self._ahead = False
        # What made the producer useless: nothing can be committed any more.
        self._failed: Exception | None = None

    async def take(self, partition: TopicPartition) -> Place:
        """Fence who held the partition before, then read where it stands and claim it."""
        before = await _committed(self._consumer, partition)
        if before is not None and before.holder not in {"", self.name}:
            await self._starts.once(before.holder, partial(self._fence, before.holder))
        await self._starts.once(self.name, self._producer.start)
        # As its last holder left it.
        place = await _committed(self._consumer, partition)
        if place is None:
            place = Place(await _beginning(self._consumer, partition))
        await self._claim(partition, place)
        return place

    def prepare(self) -> None:
        """Begin the next transaction, now or once the one under way has ended."""
        self._ahead = True
        if self._committing is None and self._failed is None:
            self._producer.prepare()

    async def commit(
        self, writes: Sequence[Write], partition: TopicPartition, place: Place
    ) -> None:
        """Commit with all others that are ready when the transaction under way has ended."""
        if self._failed is not None:
            raise self._failed
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Part(writes, partition, place, done))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit())
        await done

    async def stop(self) -> None:
        """Disconnect."""
        await self._starts.stop()
        if self._committing is not None:
            await asyncio.wait([self._committing])
        await self._producer.stop()

    def _identity(self, name: str) -> str:
        return f"{self._group}-{name}"

    async def _fence(self, name: str) -> None:
        """End the transaction of an earlier term, if one is open, and every later one."""
        producer = FencedProducer(self._servers, self._identity(name))
        try:
            await producer.start()
        finally:
            await producer.stop()

    async def _claim(self, partition: TopicPartition, place: Place) -> None:
        claim = replace(place, holder=self.name).written()
        try:
            await self._consumer.commit({partition: claim})
        except (CommitFailedError, IllegalStateError) as error:
            raise ProducerFenced(f"the group has moved on: {error}") from error

    async def _commit(self) -> None:
        while self._waiting:
            self._ahead = False
            parts = self._ready()
            try:
                await self._producer.commit(
                    [write for part in parts for write in part.writes],
                    {
                        part.partition: replace(part.place, holder=self.name).written()
                        for part in parts
                    },
                    self._group,
                )
            except Exception as error:  # noqa: BLE001 - told to whoever waits
                self._failed = error
                parts += self._waiting
                self._waiting = []
                for part in parts:
                    part.done.set_exception(error)
            else:
                for part in parts:
                    part.done.set_result(None)
        self._committing = None
        if self._ahead:
            self.prepare()

    def _ready(self) -> list[_Part]:
        """Take what is to be committed together: of all who wait, what a transaction holds."""
        count = answers = 0
        for part in self._waiting:
            answers += len(part.writes)
            if count and answers > ANSWERS_AT_ONCE:
                break
            count += 1
        parts, self._waiting = self._waiting[:count], self._waiting[count:]
        return parts


class AtLeastOnce:
    """Answers first, then offsets; nobody is fenced, so what dies in between is done again."""

    def __init__(self, servers: str, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._producer = PlainProducer(servers, consumer)
        self._starts = _Starts()
        # Kept where they are: an agent that answers exactly once may come next.
        self._holders: dict[TopicPartition, str] = {}

    async def take(self, partition: TopicPartition) -> Place:
        """Return where the partition stands."""
        await self._starts.once("", self._producer.start)
        place = await _committed(self._consumer, partition)
        if place is None:
            place = Place(await _beginning(self._consumer, partition))
        self._holders[partition] = place.holder
        return place

    def prepare(self) -> None:
        """Do nothing: there is no transaction."""

    async def commit(
        self, writes: Sequence[Write], partition: TopicPartition, place: Place
    ) -> None:
        """Append the answers; the offset follows soon."""
        kept = replace(place, holder=self._holders[partition])
        await self._producer.commit(writes, {partition: kept.written()})

    async def stop(self) -> None:
        """Commit the last offsets, and disconnect."""
        await self._starts.stop()
        await self._producer.stop()


async def _committed(consumer: AIOKafkaConsumer, partition: TopicPartition) -> Place | None:
    """Return where the group has the partition; None where it has nothing of it yet."""
    # Consumer.committed() would leave its metadata out.
    found = await consumer._coordinator.fetch_committed_offsets([partition])  # noqa: SLF001
    committed = found.get(partition)
    return None if committed is None or committed.offset < 0 else Place.read(committed)


async def _beginning(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    await consumer.seek_to_beginning(partition)
    offset: int = await consumer.position(partition)
    return offset
