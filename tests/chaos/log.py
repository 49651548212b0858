"""The topics as the checker takes them: every committed record, read to what it says."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.cloudevents import decode
from schemas.commands import PREFIX
from schemas.errors import UndecodableError
from schemas.events import PREFIX as EVENT
from schemas.events import SUFFIX
from schemas.topics import partition_for
from scoring.places import Place
from tests.support import read_all
from transport.connecting import admin_at
from transport.settings import Settings

# What an answer or an event shows of a deployment, as one number that never falls: its revision; 0
# before the first, -1 where it is not known yet, and DELETED for good.
UNKNOWN, NOT_READY, DELETED = -1, 0, 10**9
CODES = {
    "deployment_not_found": UNKNOWN,
    "deployment_not_ready": NOT_READY,
    "deployment_deleted": DELETED,
}


def shown(body: dict[str, Any]) -> int | None:
    """Return what an answer shows of its deployment; None where it shows nothing."""
    fault = body.get("error")
    code = None if fault is None else fault["code"]
    return CODES.get(code, body.get("revision")) if code else body["revision"]


# The events after which a deployment serves another revision.
SERVING = {"deployment-created", "deployment-updated", "deployment-rolled-back"}


def announced(name: str, data: dict[str, Any]) -> int | None:
    """Return what an event shows of its deployment; None where it shows nothing."""
    if name == "deployment-deleted":
        return DELETED
    return data["revision"] if name in SERVING or name == "update-started" else None


@dataclass(frozen=True, slots=True)
class Command:
    """A record of ``commands``. ``id`` None: not readable as a command."""

    partition: int
    offset: int
    source: str | None = None
    id: str | None = None
    name: str = ""
    home: int = 0
    dry_run: bool = False

    @property
    def key(self) -> tuple[int, str, str]:
        """The identity: where it is decided, source and id."""
        return (self.home, self.source or "", self.id or "")

    def __str__(self) -> str:
        told = "unreadable" if self.id is None else f"{self.name} {self.source} {self.id}"
        stray = (
            "" if self.partition == self.home or self.id is None else f"  at home on {self.home}"
        )
        return f"commands-{self.partition}@{self.offset}  {told}{stray}"


@dataclass(frozen=True, slots=True)
class Event:
    """A record of ``events``."""

    partition: int
    offset: int
    sequence: int
    name: str
    source: str
    id: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, str, str]:
        """The identity of the command that caused it."""
        return (self.partition, self.source, self.id)

    def __str__(self) -> str:
        kept = ("deployment_id", "asset_id", "revision", "after", "code")
        told = " ".join(f"{name}={self.data[name]}" for name in kept if name in self.data)
        return (
            f"events-{self.partition}@{self.offset}  #{self.sequence} {self.name} by {self.source} "
            f"{self.id}  {told}"
        )


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A record of ``state``; ``value`` None is a tombstone."""

    partition: int
    offset: int
    key: str
    value: dict[str, Any] | None

    def __str__(self) -> str:
        kept = ("status", "revision", "pending", "outcome", "offset", "sequence", "deleted")
        value = self.value or {}
        told = " ".join(f"{name}={value[name]}" for name in kept if name in value)
        return f"state-{self.partition}@{self.offset}  {self.key}  {told}"


@dataclass(frozen=True, slots=True)
class Request:
    """A record of ``requests``. ``id`` None: it had no request-id header."""

    partition: int
    offset: int
    id: str | None = None

    def __str__(self) -> str:
        return f"requests-{self.partition}@{self.offset}  {self.id or 'unreadable'}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A record of ``responses``; ``to`` is the partition and offset of its request."""

    partition: int
    offset: int
    id: str
    to: tuple[int, int]
    deployment: str | None
    value: int | None
    asset: str | None = None
    code: str = ""
    prediction: float | None = None

    def __str__(self) -> str:
        what = self.code or f"revision {self.value}, asset {self.asset}: {self.prediction}"
        to = f"requests-{self.to[0]}@{self.to[1]} on {self.deployment}"
        return f"responses-{self.partition}@{self.offset}  {self.id} to {to}: {what}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of ``dead-letters``: ``topic`` is ``commands`` or ``requests``, without prefix."""

    offset: int
    topic: str
    of: tuple[int, int]

    def __str__(self) -> str:
        return f"dead-letters@{self.offset}  of {self.topic}-{self.of[0]}@{self.of[1]}"


@dataclass(slots=True)
class Log:
    """What all topics hold, each partition's records in order, and the scoring group's offsets."""

    commands: list[Command] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    state: list[StateRecord] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    committed: dict[int, int] = field(default_factory=dict)


async def read_log(settings: Settings, group: str) -> Log:
    """Read every topic read_committed to its present end, and the offsets of ``group``."""
    topics = settings.topics
    return Log(
        [_command(r, topics.control) for r in await read_all(settings, topics.commands)],
        [_event(r) for r in await read_all(settings, topics.events)],
        [
            StateRecord(r.partition, r.offset, r.key.decode(), r.value and json.loads(r.value))
            for r in await read_all(settings, topics.state)
        ],
        [
            Request(r.partition, r.offset, _text(dict(r.headers), "request-id"))
            for r in await read_all(settings, topics.requests)
        ],
        [_answer(r) for r in await read_all(settings, topics.responses)],
        [
            _dead_letter(r, topics.prefix, r.offset)
            for r in await read_all(settings, topics.dead_letters)
        ],
        {part: place.offset for part, place in (await committed_places(settings, group)).items()},
    )


async def committed_places(settings: Settings, group: str) -> dict[int, Place]:
    """Return where each partition of ``requests`` stands."""
    async with admin_at(settings.bootstrap_servers) as admin:
        found = await admin.list_consumer_group_offsets(group)
    name = settings.topics.requests.name
    return {where.partition: Place.read(at) for where, at in found.items() if where.topic == name}


def _command(record: Any, partitions: int) -> Command:
    try:
        event = decode(record.headers, record.value)
    except UndecodableError:
        return Command(record.partition, record.offset)
    if not event.type.startswith(PREFIX):
        return Command(record.partition, record.offset)
    data = event.data if isinstance(event.data, dict) else {}
    space = data.get("space_id")
    home = partition_for(space.encode(), partitions) if isinstance(space, str) else record.partition
    name = event.type.removeprefix(PREFIX).removesuffix(SUFFIX)
    dry = data.get("dry_run") is True
    return Command(record.partition, record.offset, event.source, event.id, name, home, dry)


def _event(record: Any) -> Event:
    event = decode(record.headers, record.value)
    return Event(
        record.partition,
        record.offset,
        int(event.attributes["sequence"]),
        event.type.removeprefix(EVENT).removesuffix(SUFFIX),
        event.attributes["causationsource"],
        event.attributes["causationid"],
        event.data,
    )


def _answer(record: Any) -> Answer:
    body = json.loads(record.value)
    place = body["request"]
    found = body.get("predictions")
    return Answer(
        record.partition,
        record.offset,
        body["id"],
        (place["partition"], place["offset"]),
        body.get("deployment_id"),
        shown(body),
        body.get("asset_id"),
        body["error"]["code"] if "error" in body else "",
        found[0]["values"][0][0] if found else None,
    )


def _dead_letter(record: Any, prefix: str, offset: int) -> DeadLetter:
    headers = dict(record.headers)
    topic = (_text(headers, "dead-letter-topic") or "").removeprefix(prefix)
    where = [int(headers[f"dead-letter-{name}"]) for name in ("partition", "offset")]
    return DeadLetter(offset, topic, (where[0], where[1]))


def _text(headers: dict[str, bytes], name: str) -> str | None:
    return headers[name].decode() if name in headers else None


def by_partition(records: Iterable[Any]) -> dict[int, list[Any]]:
    """Group records by partition, each group in its order."""
    found: dict[int, list[Any]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record)
    return found
