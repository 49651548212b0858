"""Whether the state table is the fold of the audit log, and the log has no gap."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from client.audit import AuditEvent, read_event
from client.fold import Fold, difference
from schemas.errors import UndecodableError
from schemas.manifests import Manifests, Pieces
from schemas.records import ACCEPTED, CURSOR_KEY, CommandRecord
from transport.reading import POLL_MS, new_consumer, partitions_of
from transport.settings import Settings

# A transaction's markers reach state and events at different times: so long they may disagree on
# where the log ends. A worker that dies within one leaves it open for 10 s.
SETTLE_S = 15.0
POLL_S = 0.2
# Of a value that is no record.
SHOWN_BYTES = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """Where log and state disagree: ``expected`` follows from the events, ``actual`` is there."""

    partition: int
    key: str
    message: str
    expected: Any = None
    actual: Any = None


@dataclass(slots=True)
class PartitionVerdict:
    """What was compared of one partition, and what was found."""

    partition: int
    events: int = 0
    records: int = 0
    differences: list[Difference] = field(default_factory=list)


async def verify(settings: Settings) -> list[PartitionVerdict]:
    """Replay the log and compare: a verdict for each partition, read while the worker goes on.

    Of each partition: the sequences count from 1 without a gap, the cursor is at the last event,
    and each record equals the fold of the events (client.fold) in all that the fold knows.
    """
    topics = settings.topics
    async with AsyncExitStack() as running:
        state = await _opened(running, settings, partitions_of(topics.state))
        events = await _opened(running, settings, partitions_of(topics.events))
        commands = await _opened(running, settings, partitions_of(topics.commands))
        partitions = [_Partition(number) for number in range(topics.state.partitions)]
        deadline = time.monotonic() + SETTLE_S
        while True:
            # The state first: the log read after it has every event that the state knows.
            async for record in state.advanced():
                partitions[record.partition].take_record(record)
            async for record in events.advanced():
                partitions[record.partition].take_event(record)
            for partition in partitions:
                partition.settle()
            if all(partition.settled for partition in partitions) or time.monotonic() > deadline:
                break
            await asyncio.sleep(POLL_S)
        ends = await commands.ends()
        return [partition.verdict(ends[partition.number]) for partition in partitions]


class _Partition:
    """The records and the events of one partition, read side by side."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._fold = Fold()
        self._table: dict[str, bytes | Pieces] = {}
        # Nearly all of many deployments' records: each is kept and read once.
        self._manifests = Manifests()
        self._awaiting: deque[AuditEvent] = deque()
        self._read = 0
        # The last event at the first look: a worker that is busy is always one ahead.
        self._goal: int | None = None
        self._found: list[Difference] = []
        self._records = 0
        self.settled = False

    def take_record(self, record: Any) -> None:  # noqa: ANN401 - aiokafka's record
        """Keep the newest record under each key."""
        key = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self._table.pop(key, None)
        else:
            self._table[key] = self._manifests.shared(key, record.value)

    def take_event(self, record: Any) -> None:  # noqa: ANN401 - aiokafka's record
        """Keep an event until the cursor has reached it."""
        try:
            event = read_event(record)
        except UndecodableError as error:
            self._differ(f"events@{record.offset}", f"is no event: {error}")
            return
        if event.sequence != self._read + 1:
            self._differ(
                f"events@{record.offset}",
                "the log has a gap, or an event that does not belong there: its sequence",
                self._read + 1,
                event.sequence,
            )
        if event.sequence > self._read:
            self._read = event.sequence
            self._awaiting.append(event)

    def settle(self) -> None:
        """Fold the events that the cursor counts; compare once these are all that were there."""
        if self.settled:
            return
        known = self._cursor()
        if self._goal is None:
            self._goal = self._read
        while self._awaiting and self._awaiting[0].sequence <= known:
            self._fold.apply(self._awaiting.popleft())
        self.settled = known == self._fold.sequence and known >= self._goal
        if self.settled:
            self._compare()

    def verdict(self, commands_end: int) -> PartitionVerdict:
        """Return what was found."""
        if not self.settled:
            self._differ(
                CURSOR_KEY,
                "the state and the log end at different events",
                {"sequence": self._read},
                {"sequence": self._cursor()},
            )
            self._compare()
        if (offset := self._offset()) >= commands_end:
            self._differ(
                CURSOR_KEY,
                "the state knows a command that the commands topic does not have",
                f"an offset below {commands_end}",
                offset,
            )
        return PartitionVerdict(self.number, self._read, self._records, self._found)

    def _compare(self) -> None:
        keys = sorted(key for key in self._table if key != CURSOR_KEY)
        self._records = len(keys)
        self._found += self._missing()
        for key in keys:
            self._found += self._of(key)

    def _missing(self) -> list[Difference]:
        now_ms = time.time_ns() // 1_000_000
        return [
            Difference(self.number, key, "the events tell of it, the state does not", expected)
            for key, expected in self._fold.table.items()
            if key not in self._table and not self._fold.may_be_forgotten(key, now_ms)
        ]

    def _of(self, key: str) -> list[Difference]:
        try:
            record = self._manifests.decode(key, self._table[key])
        except (ValidationError, KeyError, TypeError, ValueError):
            value = self._table[key]
            whole = value.whole() if isinstance(value, Pieces) else value
            shown = whole[:SHOWN_BYTES].decode(errors="replace")
            return [Difference(self.number, key, "is no record", None, shown)]
        actual = record.model_dump(mode="json")
        expected = self._fold.table.get(key)
        if expected is None:
            # A dry run that is being verified has no event yet.
            if isinstance(record, CommandRecord) and record.outcome == ACCEPTED and record.trial:
                return []
            message = "the state holds it, no event tells of it"
            return [Difference(self.number, key, message, None, actual)]
        parts = difference(expected, actual)
        if parts is None:
            return []
        return [Difference(self.number, key, "the state is not what the events say", *parts)]

    def _cursor(self) -> int:
        return self._cursor_member("sequence", 0)

    def _offset(self) -> int:
        return self._cursor_member("offset", -1)

    def _cursor_member(self, name: str, absent: int) -> int:
        value = self._table.get(CURSOR_KEY)
        if value is None:
            return absent
        try:
            return int(getattr(self._manifests.decode(CURSOR_KEY, value), name))
        except ValidationError:
            return absent

    def _differ(self, key: str, message: str, expected: Any = None, actual: Any = None) -> None:  # noqa: ANN401 - JSON values
        self._found.append(Difference(self.number, key, message, expected, actual))


class _Follower:
    """Reads partitions up to where they end, again and again."""

    def __init__(self, consumer: AIOKafkaConsumer, where: list[TopicPartition]) -> None:
        self._consumer = consumer
        self._where = where
        # Read already, and beyond the end that was asked for.
        self._surplus: list[Any] = []

    async def ends(self) -> dict[int, int]:
        """Return where each partition ends: behind the last transaction that has ended."""
        found = await self._consumer.end_offsets(self._where)
        return {part.partition: end for part, end in found.items()}

    async def advanced(self) -> AsyncIterator[Any]:
        """Yield the records up to the present end, and none beyond: no half of a transaction."""
        ends = await self.ends()
        surplus, self._surplus = self._surplus, []
        for record in surplus:
            if record.offset < ends[record.partition]:
                yield record
            else:
                self._surplus.append(record)
        while any([await self._consumer.position(p) < ends[p.partition] for p in self._where]):
            for records in (await self._consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    if record.offset < ends[record.partition]:
                        yield record
                    else:
                        self._surplus.append(record)


async def _opened(
    running: AsyncExitStack, settings: Settings, where: list[TopicPartition]
) -> _Follower:
    consumer = new_consumer(settings.bootstrap_servers)
    await consumer.start()
    running.push_async_callback(consumer.stop)
    consumer.assign(where)
    await consumer.seek_to_beginning(*where)
    return _Follower(consumer, where)
