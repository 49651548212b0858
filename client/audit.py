"""The audit log: every event, once, in each partition's order."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.cloudevents import decode
from schemas.events import PREFIX, SUFFIX, EventData
from transport.admin import ensure_topics
from transport.settings import Settings

POLL_MS = 500


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
    """Read the event in a record of the events topic."""
    event = decode(record.headers, record.value)
    name = event.type.removeprefix(PREFIX).removesuffix(SUFFIX)
    data = EventData.model_validate(event.data)
    return AuditEvent(name, event.attributes, data, record.partition, record.offset)


async def events(
    settings: Settings, *, follow: bool = False, from_beginning: bool = True
) -> AsyncIterator[AuditEvent]:
    """Iterate over the audit log, each event once; partition by partition in its order.

    Ends at what is the log's end now, or goes on (``follow``). Only committed events are given.
    """
    topic = settings.topics.events
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    consumer = new_consumer(settings)
    await consumer.start()
    try:
        where = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        consumer.assign(where)
        ends = await consumer.end_offsets(where)
        if from_beginning:
            await consumer.seek_to_beginning(*where)
        else:
            for partition, end in ends.items():
                consumer.seek(partition, end)
        seen = dict.fromkeys(range(topic.partitions), 0)
        while follow or await _before(consumer, ends):
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for event in sorted(map(read_event, records), key=lambda event: event.offset):
                    # The worker's transactions make repeats impossible; a restored or mirrored
                    # topic may hold some all the same.
                    if event.sequence > seen[event.partition]:
                        seen[event.partition] = event.sequence
                        yield event
    finally:
        await consumer.stop()


def new_consumer(settings: Settings) -> AIOKafkaConsumer:
    """Return a group-less read_committed consumer."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # Events hold manifests: a record may be larger than the default fetch.
        max_partition_fetch_bytes=16 * 1024**2,
        retry_backoff_ms=20,
    )


async def _before(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    # Positions, not the last record's offset: transaction markers take offsets too.
    where: Iterable[TopicPartition] = ends
    return any([await consumer.position(partition) < ends[partition] for partition in where])
