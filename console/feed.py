"""The audit log, live: the newest events at hand, the older ones from Kafka, none missed."""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

from aiokafka import TopicPartition

from client.audit import AuditEvent, read_event
from console.cursor import Cursor
from console.following import Follower, OnFailure
from schemas.events import FINAL
from transport.reading import read
from transport.settings import Settings

# Of each partition, at hand. An event may hold a manifest: bounded by their bytes, too.
KEPT_EVENTS = 5000
KEPT_BYTES = 16 * 1024**2

Matches = Callable[[AuditEvent], bool]


class _Recent:
    """The newest events of one partition, in their order."""

    def __init__(self) -> None:
        self._events: deque[tuple[AuditEvent, int]] = deque()
        self._bytes = 0
        self.newest = 0

    @property
    def oldest(self) -> int:
        """The sequence of the oldest event at hand, or of the next one."""
        return self._events[0][0].sequence if self._events else self.newest + 1

    def add(self, event: AuditEvent, size: int) -> list[AuditEvent]:
        """Add ``event`` of ``size`` bytes and return what had to go for it."""
        self._events.append((event, size))
        self._bytes += size
        self.newest = event.sequence
        gone = []
        while len(self._events) > KEPT_EVENTS or (
            self._bytes > KEPT_BYTES and len(self._events) > 1
        ):
            old, freed = self._events.popleft()
            self._bytes -= freed
            gone.append(old)
        return gone

    def after(self, sequence: int) -> list[AuditEvent]:
        """Return the events at hand behind ``sequence``, oldest first."""
        found = []
        for event, _ in reversed(self._events):
            if event.sequence <= sequence:
                break
            found.append(event)
        return found[::-1]

    def __reversed__(self) -> Iterator[AuditEvent]:
        return (event for event, _ in reversed(self._events))


class Feed:
    """A view of the events topic. ``source`` is whose commands' outcomes are kept by their id."""

    def __init__(self, settings: Settings, source: str, on_failure: OnFailure) -> None:
        self._servers = settings.bootstrap_servers
        self._topic = settings.topics.events
        self._source = source
        self._recent = [_Recent() for _ in range(self._topic.partitions)]
        self._outcomes: dict[str, AuditEvent] = {}
        self._waiting: dict[str, list[asyncio.Future[AuditEvent]]] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._follower = Follower(
            self._servers, self._topic, self._take, on_failure, records=2 * KEPT_EVENTS
        )

    async def start(self) -> None:
        """Read the newest events, then follow the log."""
        await self._follower.start()

    async def stop(self) -> None:
        """Stop following."""
        self.close()
        await self._follower.stop()

    def close(self) -> None:
        """End every stream after what it has been given: the process is stopping."""
        self._closed = True
        self._wake()

    @property
    def partitions(self) -> int:
        """How many partitions a cursor tells of."""
        return len(self._recent)

    @property
    def cursor(self) -> Cursor:
        """The place behind all that is at hand."""
        return Cursor(recent.newest for recent in self._recent)

    def newest(self, limit: int, matches: Matches = lambda _: True) -> list[AuditEvent]:
        """Return up to ``limit`` of the events at hand that match, newest first."""
        found = []
        for recent in self._recent:
            mine = (event for event in reversed(recent) if matches(event))
            found += [event for event, _ in zip(mine, range(limit), strict=False)]
        found.sort(key=lambda event: (event.time, event.sequence), reverse=True)
        return found[:limit]

    async def since(self, cursor: Cursor, idle_s: float) -> AsyncGenerator[AuditEvent | None, None]:
        """Iterate over every event behind ``cursor``, each partition's in its order, on and on.

        None is given each time that nothing has come for ``idle_s``.
        """
        cursor = cursor.within({n: recent.newest for n, recent in enumerate(self._recent)})
        while not self._closed:
            for number, recent in enumerate(self._recent):
                if cursor[number] < recent.oldest - 1:
                    async with aclosing(self._older(number, cursor[number])) as older:
                        async for event in older:
                            cursor = cursor.past(number, event.sequence)
                            yield event
            changed = self._changed
            # By time, but each partition's in its order, whatever their times say.
            fresh = list(
                heapq.merge(
                    *(recent.after(cursor[n]) for n, recent in enumerate(self._recent)),
                    key=lambda event: event.time,
                )
            )
            for event in fresh:
                cursor = cursor.past(event.partition, event.sequence)
                yield event
            if fresh:
                continue
            try:
                async with asyncio.timeout(idle_s):
                    await changed.wait()
            except TimeoutError:
                yield None

    async def reached(self, cursor: Cursor, timeout_s: float) -> None:
        """Return once what lies before ``cursor`` is at hand, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._closed and self.cursor.lacks(cursor):
                    await self._changed.wait()

    async def _older(self, number: int, sequence: int) -> AsyncGenerator[AuditEvent, None]:
        """Read the events behind ``sequence`` from Kafka, up to what is at hand."""
        where = [TopicPartition(self._topic.name, number)]
        # Each event takes an offset, and markers take some too: none behind lies before this one.
        async with aclosing(read(self._servers, where, after=sequence - 1)) as records:
            async for record in records:
                event = read_event(record)
                if event.sequence > sequence:
                    sequence = event.sequence
                    yield event
                if sequence >= self._recent[number].oldest - 1:
                    return

    def outcome(self, command_id: str) -> AuditEvent | None:
        """Return the event that ended the console's command, where it is at hand."""
        return self._outcomes.get(command_id)

    @contextlib.contextmanager
    def expected(self, command_id: str) -> Iterator["asyncio.Future[AuditEvent]"]:
        """Wait, within the block, for the event that ends the console's command."""
        future: asyncio.Future[AuditEvent] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(command_id, []).append(future)
        try:
            yield future
        finally:
            waiting = self._waiting[command_id]
            waiting.remove(future)
            if not waiting:
                del self._waiting[command_id]

    def _take(self, record: Any) -> None:  # noqa: ANN401 - aiokafka's record
        self._keep(read_event(record), len(record.value or b""))

    def _keep(self, event: AuditEvent, size: int) -> None:
        recent = self._recent[event.partition]
        # A restored or mirrored topic may hold some twice.
        if event.sequence <= recent.newest:
            return
        for old in recent.add(event, size):
            if self._outcomes.get(old.command_id) is old:
                del self._outcomes[old.command_id]
        if event.name in FINAL and event.attributes.get("causationsource") == self._source:
            self._outcomes[event.command_id] = event
            for future in self._waiting.get(event.command_id, ()):
                if not future.done():
                    future.set_result(event)
        self._wake()

    def _wake(self) -> None:
        # A new one each time: whoever holds the old one is woken, whenever it comes to wait.
        self._changed.set()
        self._changed = asyncio.Event()
