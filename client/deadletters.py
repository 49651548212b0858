"""Dead letters: what could not be read or answered, and how it is sent again, untouched."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from schemas.errors import BatonError
from schemas.topics import dead_letter_headers
from transport.admin import ensure_topics
from transport.reading import new_consumer, read
from transport.settings import Settings

# Those that say whence it came and why stand behind those that it came with.
_OURS = len(dead_letter_headers(topic="", partition=0, offset=0, at="", reason=""))
# Of a hexdump.
_LINE = 16
# What a worker says of a record whose bytes it had to leave out.
_NOT_KEPT = "too large to be kept here"


class NoDeadLetterError(BatonError):
    """There is no dead letter of this id, or none any more."""

    code = "dead_letter_not_found"


class NotReplayableError(BatonError):
    """A dead letter cannot be published again: nothing was."""

    code = "not_replayable"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was laid aside. ``id`` is its offset; key, value and headers are as they came.

    A record without a value came as one of no bytes: the two cannot be told apart any more.
    """

    id: int
    topic: str
    partition: int
    offset: int
    time: str
    reason: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def kept(self) -> bool:
        """Whether its bytes are here: of one that was too large only the reason is."""
        return bool(self.value or self.headers) or _NOT_KEPT not in self.reason

    def as_json(self) -> dict[str, Any]:
        """Return what is known of it but its value, whose ``bytes`` are counted."""
        return {
            "id": self.id,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "time": self.time,
            "reason": self.reason,
            "key": None if self.key is None else self.key.decode(errors="replace"),
            "bytes": len(self.value),
        }


async def dead_letters(settings: Settings, *, behind: int = -1) -> AsyncGenerator[DeadLetter, None]:
    """Iterate over the dead letters that are there now, from the one after the id ``behind``."""
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    where = [TopicPartition(settings.topics.dead_letters.name, 0)]
    found = read(settings.bootstrap_servers, where, after=behind)
    async with aclosing(found) as records:
        async for record in records:
            yield _letter(record)


async def newest(settings: Settings, among: int) -> list[DeadLetter]:
    """Return the dead letters among the topic's last ``among`` offsets, newest first.

    The markers of transactions take offsets, too.
    """
    where = TopicPartition(settings.topics.dead_letters.name, 0)
    consumer = new_consumer(settings.bootstrap_servers)
    await consumer.start()
    try:
        end = (await consumer.end_offsets([where]))[where]
    finally:
        await consumer.stop()
    return [letter async for letter in dead_letters(settings, behind=end - among - 1)][::-1]


async def dead_letter(settings: Settings, identity: int) -> DeadLetter:
    """Return the dead letter ``identity``. Raises NoDeadLetterError where there is none."""
    async with aclosing(dead_letters(settings, behind=identity - 1)) as found:
        async for letter in found:
            if letter.id == identity:
                return letter
            break
    raise NoDeadLetterError(f"there is no dead letter {identity}: see `baton dead-letters list`")


def text(value: bytes) -> str | None:
    """Return what ``value`` says, or None where it is no text."""
    try:
        found = value.decode()
    except UnicodeDecodeError:
        return None
    printable = all(char.isprintable() or char in "\n\r\t" for char in found)
    return found if found and printable else None


def hexdump(value: bytes) -> Iterator[str]:
    """Yield ``value`` in lines of offset, bytes and ASCII."""
    for start in range(0, len(value), _LINE):
        part = value[start : start + _LINE]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 - ASCII's printable characters
        yield f"{start:08x}  {part.hex(' '):{3 * _LINE - 1}}  {shown}"


async def replay(settings: Settings, letters: Sequence[DeadLetter]) -> None:
    """Publish each of ``letters`` again: same key, value and headers, to the partition it was on.

    Raises NotReplayableError, before anything is published, where one came from another topic than
    the commands or requests, or was too large to be kept.
    """
    topics = settings.topics
    sources = {topics.commands.name, topics.requests.name}
    for letter in letters:
        if letter.topic not in sources:
            raise NotReplayableError(
                f"dead letter {letter.id} came from {letter.topic}, not from "
                f"{' or '.join(sorted(sources))}: is BATON_TOPIC_PREFIX right?"
            )
        if not letter.kept:
            raise NotReplayableError(f"dead letter {letter.id} cannot be replayed: {letter.reason}")
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, enable_idempotence=True
    )
    try:
        await producer.start()
        for letter in letters:
            await producer.send_and_wait(
                letter.topic,
                letter.value,
                key=letter.key,
                partition=letter.partition,
                headers=list(letter.headers),
            )
    finally:
        await producer.stop()


def _letter(record: Any) -> DeadLetter:  # noqa: ANN401 - aiokafka's record
    headers = tuple((name, value or b"") for name, value in record.headers)
    told = {name: value.decode(errors="replace") for name, value in headers[-_OURS:]}

    def number(name: str) -> int:
        text = told.get(name, "")
        return int(text) if text.isascii() and text.isdigit() else -1

    return DeadLetter(
        id=record.offset,
        topic=told.get("dead-letter-topic", ""),
        partition=number("dead-letter-partition"),
        offset=number("dead-letter-offset"),
        time=told.get("dead-letter-time", ""),
        reason=told.get("dead-letter-reason", ""),
        key=record.key,
        value=record.value or b"",
        headers=headers[:-_OURS],
    )
