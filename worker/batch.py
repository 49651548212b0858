"""A batch of commands, decided and encoded but not committed: what one transaction will hold."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from schemas.cloudevents import CloudEvent, decode, encode
from schemas.commands import PREFIX, command_name
from schemas.errors import UndecodableError
from schemas.records import (
    CURSOR_KEY,
    CommandRecord,
    CursorRecord,
    Record,
    decode_record,
    encode_record,
)
from schemas.times import rfc3339
from schemas.topics import COMMAND_BYTES, LARGE_BYTES, Topics, dead_letter_headers
from telemetry.tracing import Attributes, Span, Tracing
from transport.transactions import Write, size
from worker.inbox import CommandMessage, home_partition, space_of
from worker.lifecycle.command import InvalidCommandError, parse_command
from worker.lifecycle.decide import decide, reject_invalid
from worker.lifecycle.decision import NOTHING, Decision
from worker.lifecycle.outcome import expire
from worker.lifecycle.rules import Rules
from worker.lifecycle.view import View, Work
from worker.metrics import Tally

if TYPE_CHECKING:
    from schemas.events import Event

log = logging.getLogger(__name__)

# A transaction holds no more than this, but for what a single command gives rise to: a replace of
# two bytes may write two manifests of a megabyte.
FULL_BYTES = 8 * 1024 * 1024
# Of a record, less room for a batch's own fields.
RECORD_BYTES = LARGE_BYTES - 1024
SHOWN_CHARS = 500

Decide = Callable[[View, CloudEvent, int], Decision]


class TooLargeError(Exception):
    """What a decision writes is larger than its topic takes."""


class Batch:
    """Takes commands in order, each whole or not at all, over a draft of the state.

    Nothing that a command holds makes it raise: what gives no event is a dead letter.
    """

    def __init__(  # noqa: PLR0913 - what a batch needs
        self,
        topics: Topics,
        rules: Rules,
        partition: int,
        view: View,
        sequence: int,
        *,
        tracing: Tracing | None = None,
    ) -> None:
        self._topics = topics
        self._rules = rules
        self._partition = partition
        self._tracing = tracing or Tracing()
        # Of the commands that came with a trace: they end with the transaction.
        self.spans: list[Span] = []
        self.view = view.overlay()
        self.sequence = sequence
        self.bytes = 0
        self.work: list[Work] = []
        self.tally = Tally()
        # When its commands were appended, in milliseconds of the epoch.
        self.arrived: list[int] = []
        self._appended: list[Write] = []
        # By key: the last one counts.
        self._records: dict[str, Write] = {}

    def __bool__(self) -> bool:
        """Whether anything follows."""
        return bool(self._appended or self._records)

    @property
    def full(self) -> bool:
        """Whether it should be committed before it takes more."""
        return self.bytes >= FULL_BYTES

    def add(self, message: CommandMessage) -> None:
        """Decide ``message``, or lay it aside as a dead letter."""
        # What is read counts too: five hundred large commands to refuse take seconds.
        self.bytes += len(message.value or b"")
        self.arrived.append(message.timestamp_ms)
        try:
            self._handle(message)
        except (UndecodableError, TooLargeError) as error:
            self._lay_aside(message, str(error))
        except Exception as error:
            # An error in the rules: it would end every successor too, and so stop everyone else.
            where = f"{self._topics.commands.name}[{self._partition}]@{message.offset}"
            log.exception(
                "command %s cannot be handled and goes to the dead letters",
                where,
                extra={"partition": self._partition, "offset": message.offset},
            )
            reason = f"the worker failed on it: {type(error).__name__}: {error}"
            self._lay_aside(message, reason)

    def take(self, decision: Decision) -> None:
        """Keep what ``decision`` says, encoded. Raises TooLargeError, and then keeps nothing."""
        appended = [
            self._event(self.sequence + number, event)
            for number, event in enumerate(decision.events, 1)
        ]
        records = {key: self._record(key, record) for key, record in decision.records}
        bulk = sum(_measured(write, RECORD_BYTES) for write in (*appended, *records.values()))
        # Nothing below fails.
        self.sequence += len(appended)
        self.bytes += bulk
        self._appended += appended
        self._records.update(records)
        for key, record in decision.records:
            self.view.put(key, record)
            if isinstance(record, CommandRecord):
                self._count(record.command_type, record.outcome)
        for event in decision.events:
            self.tally.events[event.name] += 1
        self.work.extend(decision.verify)

    def _count(self, command_type: str, outcome: str) -> None:
        # An unknown type is a producer's text: as a metric's label it would be without bounds.
        self.tally.commands[command_name(command_type) or "unknown", outcome] += 1

    def forget(self, now_ms: int) -> None:
        """Let the outcomes go that are old enough at ``now_ms``."""
        self.take(expire(self.view, now_ms))

    def writes(self, cursor: CursorRecord) -> Iterator[Write]:
        """Yield all that the transaction holds; ``cursor`` ends it."""
        yield from self._appended
        yield from self._records.values()
        yield self._record(CURSOR_KEY, cursor)

    def _handle(self, message: CommandMessage) -> None:
        event = decode(message.headers, message.value)
        if not event.type.startswith(PREFIX):
            raise UndecodableError(f"not a command: CloudEvents type {event.type[:SHOWN_CHARS]!r}")
        home = home_partition(event, message, self._topics.commands.partitions)
        now_ms = message.timestamp_ms
        try:
            if home != self._partition:
                self._forward(message, event, home)
                self._count(event.type, "forwarded")
            else:
                event = self._traced(event, message)
                decision = self._decided(event, now_ms)
                self.take(decision)
                if decision is NOTHING:
                    self._count(event.type, "repeated")
        except TooLargeError as error:
            invalid = InvalidCommandError(str(error), ())
            self.take(reject_invalid(self.view, event, invalid, now_ms))

    def _traced(self, event: CloudEvent, message: CommandMessage) -> CloudEvent:
        """Return ``event`` with what its own events are to descend from."""
        if event.trace is None:
            return event
        name = command_name(event.type) or "unknown"
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": self._topics.commands.name,
            "messaging.destination.partition.id": str(message.partition),
            "messaging.kafka.offset": message.offset,
            "baton.command_id": event.id,
        }
        span = self._tracing.begin(f"apply {name}", event.trace, attributes)
        if span is None:
            return event
        self.spans.append(span)
        return replace(event, trace=span.context)

    def _decided(self, event: CloudEvent, now_ms: int) -> Decision:
        try:
            command = parse_command(event)
        except InvalidCommandError as invalid:
            return reject_invalid(self.view, event, invalid, now_ms)
        return decide(self.view, command, now_ms, self._rules)

    def _forward(self, message: CommandMessage, event: CloudEvent, home: int) -> None:
        space = space_of(event.data)
        key = space.encode() if space is not None else message.key
        topic = self._topics.commands.name
        write = Write(topic, home, key, message.value, tuple(message.headers))
        self.bytes += _measured(write, COMMAND_BYTES)
        self._appended.append(write)

    def _lay_aside(self, message: CommandMessage, reason: str) -> None:
        def letter(value: bytes, sent: tuple[tuple[str, bytes], ...], reason: str) -> Write:
            where = dead_letter_headers(
                topic=self._topics.commands.name,
                partition=message.partition,
                offset=message.offset,
                at=rfc3339(message.timestamp_ms),
                reason=reason,
            )
            return Write(self._topics.dead_letters.name, 0, message.key, value, (*sent, *where))

        value = message.value if message.value is not None else b""
        # Whatever was quoted in it: half of a UTF-16 pair cannot be encoded.
        reason = reason[: 2 * SHOWN_CHARS].encode(errors="replace").decode()
        write = letter(value, tuple(message.headers), reason)
        if size(write) > RECORD_BYTES:
            write = letter(b"", (), f"{reason}; too large to be kept here: {size(write)} bytes")
        self.bytes += size(write)
        self._appended.append(write)
        self.tally.dead_letters += 1

    def _event(self, sequence: int, event: "Event") -> Write:
        topic = self._topics.events.name
        headers, data = encode(
            event.cloudevent(partition=self._partition, sequence=sequence, topic=topic)
        )
        space = (event.data.space_id or "").encode()
        return Write(topic, self._partition, space, data, headers)

    def _record(self, key: str, record: Record | None) -> Write:
        body = None if record is None else encode_record(record)
        flat = isinstance(record, CommandRecord) and record.trial is None
        if body is not None and not flat:
            # What no successor could read would end each of them.
            decode_record(key, body)
        return Write(self._topics.state.name, self._partition, key.encode(), body)


def _measured(write: Write, limit: int) -> int:
    """Return the bytes of ``write``. Raises TooLargeError where its topic takes no so large one."""
    found = size(write)
    if found > limit:
        raise TooLargeError(
            f"it would write {found} bytes to {write.topic}, at most {limit}: send less"
        )
    return found
