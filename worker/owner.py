"""The owner of one commands partition: its only writer of events and state.

Building one fences whoever owned the partition before; from then on every change is one Kafka
transaction that holds the events, the state records and the cursor. So a command is applied exactly
once and the events and the state never disagree, whatever dies in between.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from schemas.checks import Check
from schemas.cloudevents import CloudEvent, decode, encode
from schemas.commands import PREFIX
from schemas.errors import UndecodableError
from schemas.manifest import Manifest
from schemas.records import CURSOR_KEY, CursorRecord, Record, decode_record, encode_record
from schemas.times import rfc3339
from schemas.topics import dead_letter_headers
from transport.settings import Settings
from transport.state_view import StateView
from transport.transactions import FencedProducer, Write
from worker.inbox import CommandMessage, home_partition, space_of
from worker.lifecycle.command import InvalidCommandError, parse_command
from worker.lifecycle.decide import decide, reject_invalid
from worker.lifecycle.decision import Decision
from worker.lifecycle.outcome import announce, conclude, deadline_check, expire
from worker.lifecycle.rules import Rules
from worker.lifecycle.view import View, Work

if TYPE_CHECKING:
    from schemas.events import Event

log = logging.getLogger(__name__)

# The longest that agents get to load a verified asset ahead.
HEAD_START_S = 10.0


class Verifies(Protocol):
    """Whoever tests a model file (artifacts.verify.Verifier)."""

    async def verify(self, manifest: Manifest) -> tuple[Check, ...]:
        """Return the checks made. Never raises for a bad model."""


@dataclass(frozen=True, slots=True)
class Duties:
    """What an owner needs besides its partition."""

    settings: Settings
    rules: Rules
    verifier: Verifies
    # Whoever ends the process when an owner cannot go on: the log, not memory, knows what happened.
    on_failure: Callable[[BaseException], None]


class PartitionOwner:
    """Applies the commands of one partition, in order, each exactly once."""

    def __init__(self, duties: Duties, partition: int) -> None:
        self.partition = partition
        self._duties = duties
        self._topics = duties.settings.topics
        self._producer = FencedProducer(
            duties.settings.bootstrap_servers,
            f"{duties.settings.app}-{self._topics.commands.name}-{partition}",
        )
        self._view = View()
        self._cursor = CursorRecord(offset=-1, sequence=0)
        # One transaction at a time; also what a revocation waits for.
        self._lock = asyncio.Lock()
        self._closed = False
        self._verifications: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Fence the earlier owner, read the state it left, and take up what it had pending."""
        await self._producer.start()
        table = StateView(
            self._duties.settings.bootstrap_servers, self._topics.state, [self.partition]
        )
        try:
            await table.start()
            for key, value in table.items():
                self._view.put(key, decode_record(key, value))
            if (cursor := table.cursors.get(self.partition)) is not None:
                self._cursor = CursorRecord.model_validate_json(cursor)
        finally:
            await table.stop()
        for work in self._view.pending_work():
            self._verify_later(work)
        log.info(
            "owner stands partition=%d offset=%d sequence=%d records=%d",
            self.partition,
            self._cursor.offset,
            self._cursor.sequence,
            len(self._view),
        )

    @property
    def offset(self) -> int:
        """The offset of the last command applied; -1 before the first."""
        return self._cursor.offset

    @property
    def closed(self) -> bool:
        """Whether the partition was given up."""
        return self._closed

    def abandon(self) -> None:
        """Apply nothing from now on."""
        self._closed = True

    async def apply(self, messages: Sequence[CommandMessage]) -> None:
        """Apply ``messages`` (of this partition, in order) in one transaction."""
        async with self._lock:
            if self._closed:
                return
            fresh = [message for message in messages if message.offset > self._cursor.offset]
            if not fresh:
                return
            draft = _Draft(self._view.overlay(), self._cursor.sequence)
            writes: list[Write] = []
            for message in fresh:
                writes.extend(self._handle(draft, message))
            draft.take(expire(draft.view, fresh[-1].timestamp_ms))
            await self._commit(draft, writes, fresh[-1].offset)

    async def close(self) -> None:
        """Let the running transaction end, then stop. Nothing is applied afterwards."""
        self.abandon()
        async with self._lock:
            for task in self._verifications:
                task.cancel()
            await asyncio.gather(*self._verifications, return_exceptions=True)
            await self._producer.stop()

    def _handle(self, draft: "_Draft", message: CommandMessage) -> list[Write]:
        try:
            event = decode(message.headers, message.value)
        except UndecodableError as error:
            return [self._dead_letter(message, str(error))]
        if not event.type.startswith(PREFIX):
            return [self._dead_letter(message, f"not a command: CloudEvents type {event.type!r}")]
        home = home_partition(event, message, self._topics.commands.partitions)
        if home != self.partition:
            return [self._forward(message, event, home)]
        now_ms = message.timestamp_ms
        try:
            command = parse_command(event)
        except InvalidCommandError as invalid:
            draft.take(reject_invalid(draft.view, event, invalid, now_ms))
        else:
            draft.take(decide(draft.view, command, now_ms, self._duties.rules))
        return []

    def _forward(self, message: CommandMessage, event: CloudEvent, home: int) -> Write:
        space = space_of(event.data)
        key = space.encode() if space is not None else message.key
        return Write(self._topics.commands.name, home, key, message.value, tuple(message.headers))

    def _dead_letter(self, message: CommandMessage, reason: str) -> Write:
        headers = dead_letter_headers(
            topic=self._topics.commands.name,
            partition=message.partition,
            offset=message.offset,
            at=rfc3339(message.timestamp_ms),
            reason=reason,
        )
        return Write(
            self._topics.dead_letters.name,
            0,
            message.key,
            message.value if message.value is not None else b"",
            (*message.headers, *headers),
        )

    async def _commit(self, draft: "_Draft", writes: list[Write], offset: int) -> None:
        cursor = CursorRecord(offset=offset, sequence=draft.sequence)
        await self._producer.commit([*writes, *self._written(draft, cursor)])
        draft.view.merge()
        self._cursor = cursor
        for work in draft.work:
            self._verify_later(work)

    def _written(self, draft: "_Draft", cursor: CursorRecord) -> Iterator[Write]:
        """Yield the events, the state records and the cursor as records of their topics."""
        events, state = self._topics.events.name, self._topics.state.name
        for sequence, event in draft.events:
            headers, data = encode(
                event.cloudevent(partition=self.partition, sequence=sequence, topic=events)
            )
            space = (event.data.space_id or "").encode()
            yield Write(events, self.partition, space, data, headers)
        for key, record in draft.records.items():
            body = None if record is None else encode_record(record)
            yield Write(state, self.partition, key.encode(), body)
        yield Write(state, self.partition, CURSOR_KEY.encode(), encode_record(cursor))

    def _verify_later(self, work: Work) -> None:
        task = asyncio.create_task(self._verify(work))
        self._verifications.add(task)
        task.add_done_callback(self._verified)

    def _verified(self, task: asyncio.Task[None]) -> None:
        self._verifications.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._duties.on_failure(error)

    async def _verify(self, work: Work) -> None:
        late = deadline_check(work, _now_ms())
        began = time.monotonic()
        checks = (late,) if late is not None else await self._duties.verifier.verify(work.manifest)
        took = time.monotonic() - began
        if all(check.passed for check in checks) and await self._change(announce, work):
            # As long as it took here it may take there: then the switch itself costs nothing.
            await asyncio.sleep(min(took, HEAD_START_S))
        await self._change(conclude, work, checks, _now_ms())

    async def _change(self, rule: Callable[..., Decision], *what: object) -> bool:
        """Decide by ``rule`` and commit; False where nothing follows.

        Whole or not at all: close() cancels a verification only while it waits for its turn.
        """
        async with self._lock:
            if self._closed:
                return False
            draft = _Draft(self._view.overlay(), self._cursor.sequence)
            draft.take(rule(draft.view, *what))
            if not draft.records:
                return False
            await self._commit(draft, [], self._cursor.offset)
            return True


class _Draft:
    """What a batch has decided so far and has not yet committed."""

    def __init__(self, view: View, sequence: int) -> None:
        self.view = view
        self.sequence = sequence
        self.events: list[tuple[int, Event]] = []
        self.records: dict[str, Record | None] = {}
        self.work: list[Work] = []

    def take(self, decision: Decision) -> None:
        for event in decision.events:
            self.sequence += 1
            self.events.append((self.sequence, event))
        for key, record in decision.records:
            self.view.put(key, record)
            self.records[key] = record
        self.work.extend(decision.verify)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
