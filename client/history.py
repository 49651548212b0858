"""The audit log in the order of time: who did what and why, and which asset served when."""

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import TopicPartition

from client.audit import AuditEvent, read_event
from schemas.errors import BatonError, UndecodableError
from schemas.events import SWITCHED, EventName
from schemas.times import rfc3339
from transport.admin import ensure_topics
from transport.reading import read
from transport.settings import Settings

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


# Of an event as a flat row.
COLUMNS = (
    "time",
    "event",
    "space_id",
    "deployment_id",
    "asset_id",
    "name",
    "revision",
    "before",
    "after",
    "actor",
    "reason",
    "comment",
    "code",
    "message",
    "passed",
    "failed_checks",
    "command_id",
    "command_type",
    "command_source",
    "partition",
    "sequence",
)


@dataclass(slots=True)
class Filter:
    """Which events are asked for; None: any. Times are RFC 3339 UTC to the millisecond.

    ``since`` is included, ``until`` is not. ``names`` are the events' names. ``deployment`` is an
    ID, or the name of all those that ever bore it: so ask of every event, in the log's order.
    """

    space_id: str | None = None
    deployment: str | None = None
    actor: str | None = None
    since: str | None = None
    until: str | None = None
    names: frozenset[str] = frozenset()
    _named: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def takes(self, event: AuditEvent) -> bool:
        """Whether ``event`` is asked for."""
        data = event.data
        # A deployment's first event has its name, later ones may not.
        if data.deployment_id is not None and data.name == self.deployment:
            self._named.add(data.deployment_id)
        return (
            self.space_id in {None, data.space_id}
            and (self.deployment in {None, data.deployment_id} or data.deployment_id in self._named)
            and self.actor in {None, data.actor}
            # RFC 3339 UTC of one precision: the texts sort as the times do.
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time < self.until)
            and (not self.names or event.name in self.names)
        )


async def history(settings: Settings, chosen: Filter | None = None) -> AsyncIterator[AuditEvent]:
    """Iterate over the events that are in the log now, in the order of their times.

    Events of one partition stay in its order whatever their times. Each partition is read as far
    as it is needed: a log of any length takes the same memory.
    """
    topic = settings.topics.events
    chosen = chosen or Filter()
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    async with AsyncExitStack() as open_:
        heads: dict[int, AuditEvent] = {}
        streams = {}
        for number in range(topic.partitions):
            stream = _events(settings, TopicPartition(topic.name, number))
            streams[number] = await open_.enter_async_context(aclosing(stream))
            if (head := await anext(stream, None)) is not None:
                heads[number] = head
        while heads:
            number = min(heads, key=lambda found: heads[found].time)
            event = heads.pop(number)
            if chosen.takes(event):
                yield event
            if (head := await anext(streams[number], None)) is not None:
                heads[number] = head


@dataclass(frozen=True, slots=True)
class Serving:
    """What a deployment served, since when and by whose command."""

    deployment_id: str
    name: str | None
    space_id: str | None
    asset_id: str
    revision: int
    since: str
    actor: str | None
    reason: str | None


async def serving_at(settings: Settings, at: str, chosen: Filter) -> list[Serving]:
    """Return what each deployment served at the time ``at`` (RFC 3339 UTC to the millisecond).

    A deployment that served nothing then, or was deleted, is left out. ``chosen`` names space and
    deployment.
    """
    found: dict[str, Serving] = {}
    asked = Filter(chosen.space_id, chosen.deployment)
    async for event in history(settings, asked):
        data = event.data
        if data.deployment_id is None or event.time > at:
            continue
        if event.name == EventName.DEPLOYMENT_DELETED:
            found.pop(data.deployment_id, None)
        elif event.name in SWITCHED and data.after is not None:
            found[data.deployment_id] = Serving(
                data.deployment_id,
                data.name,
                data.space_id,
                data.after.asset_id,
                data.after.revision,
                event.time,
                data.actor,
                data.reason,
            )
    return sorted(found.values(), key=lambda s: (s.space_id or "", s.name or "", s.deployment_id))


def parse_time(text: str, now_ms: int | None = None) -> str:
    """Return ``text`` as RFC 3339 UTC to the millisecond.

    It is a date, a time of ISO 8601 (UTC where it names no zone), or how long ago: ``90s``,
    ``15m``, ``2h``, ``3d``, ``1w``. Raises BatonError where it is none of them.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    if ago := re.fullmatch(r"(\d{1,9})([smhdw])", text.strip()):
        span = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return rfc3339(now_ms - round(span.total_seconds() * 1000))
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BatonError(
            f"{text!r} is no time: give 2026-11-25, 2026-11-25T10:00:00Z, or how long ago as 90s, "
            "15m, 2h, 3d"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return rfc3339(round(moment.timestamp() * 1000))


async def _events(settings: Settings, where: TopicPartition) -> AsyncGenerator[AuditEvent, None]:
    seen = 0
    async with aclosing(read(settings.bootstrap_servers, [where])) as records:
        async for record in records:
            try:
                event = read_event(record)
            except UndecodableError as error:
                raise UndecodableError(
                    f"{where.topic}, partition {where.partition}, offset {record.offset}: {error}; "
                    "`baton audit --verify` tells what else is wrong"
                ) from error
            # As in client.audit.events: a restored topic may hold some twice.
            if event.sequence > seen:
                seen = event.sequence
                yield event


def flat(event: AuditEvent) -> dict[str, Any]:
    """Return ``event`` as one row of COLUMNS, for CSV and Parquet; what is absent is None."""
    data = event.data
    before, after = data.before, data.after
    failed = [check.name for check in data.checks or () if not check.passed]
    derived = {
        "time": event.time,
        "event": event.name,
        "asset_id": data.asset_id or (after.asset_id if after else None),
        "before": before.asset_id if before else None,
        "after": after.asset_id if after else None,
        "failed_checks": ", ".join(failed) or None,
        "command_source": event.attributes.get("causationsource"),
        "partition": event.partition,
        "sequence": event.sequence,
    }
    return {n: derived[n] if n in derived else getattr(data, n) for n in COLUMNS}
