"""The audit log: every event, once, in each partition's order."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from schemas.cloudevents import decode
from schemas.errors import UndecodableError
from schemas.events import PREFIX, SUFFIX, EventData
from schemas.faults import first_fault
from transport.admin import ensure_topics
from transport.reading import partitions_of, read
from transport.settings import Settings

SEQUENCE_DIGITS = 20


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One line of the audit log. ``attributes`` are the CloudEvents attributes, without ``ce_``.

    ``name`` is e.g. ``deployment-updated``; ``sequence`` counts the partition's events from 1.
    """

    name: str
    attributes: dict[str, str]
    data: EventData
    partition: int
    offset: int

    @property
    def sequence(self) -> int:
        """The place among the partition's events."""
        return int(self.attributes["sequence"])

    @property
    def time(self) -> str:
        """When it happened: RFC 3339 UTC."""
        return self.attributes.get("time", "")

    @property
    def command_id(self) -> str:
        """The command that caused it."""
        return self.data.command_id

    def as_json(self) -> dict[str, Any]:
        """Return it as one JSON object: attributes, data, partition and offset."""
        data = self.data.model_dump(mode="json", exclude_none=True)
        place = {"partition": self.partition, "offset": self.offset}
        return {"event": self.name, **self.attributes, "data": data, **place}


def read_event(record: Any) -> AuditEvent:  # noqa: ANN401 - aiokafka's record
    """Read the event in a record of the events topic. Raises UndecodableError where it is none."""
    event = decode(record.headers, record.value)
    sequence = event.attributes.get("sequence", "")
    if not (sequence.isascii() and sequence.isdigit() and len(sequence) <= SEQUENCE_DIGITS):
        raise UndecodableError(f"an event has a ce_sequence of digits, not {sequence[:40]!r}")
    name = event.type.removeprefix(PREFIX).removesuffix(SUFFIX)
    try:
        data = EventData.model_validate(event.data)
    except ValidationError as error:
        raise UndecodableError(f"no event of Baton: {first_fault(error, 'data')}") from None
    return AuditEvent(name, event.attributes, data, record.partition, record.offset)


async def events(
    settings: Settings, *, follow: bool = False, from_beginning: bool = True
) -> AsyncGenerator[AuditEvent, None]:
    """Iterate over the audit log, each event once; partition by partition in its order.

    Ends at what is the log's end now, or goes on (``follow``). Only committed events are given.

    >>> from client import events
    >>> names = [e.name async for e in events(settings) if e.data.space_id == "fraud"]
    >>> names[:2]
    ['space-created', 'asset-promoted']
    """
    topic = settings.topics.events
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    seen = dict.fromkeys(range(topic.partitions), 0)
    found = read(
        settings.bootstrap_servers,
        partitions_of(topic),
        follow=follow,
        from_beginning=from_beginning,
    )
    async with aclosing(found) as records:
        async for record in records:
            event = read_event(record)
            # The worker's transactions make repeats impossible; a restored or mirrored topic may
            # hold some all the same.
            if event.sequence > seen[event.partition]:
                seen[event.partition] = event.sequence
                yield event
