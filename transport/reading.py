"""Reading topics outside any group: every committed record, to the present end or on and on."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from aiokafka import TopicPartition

from schemas.topics import Topic
from transport.consumer import Consumer
from transport.ends import Ends

POLL_MS = 500
# Events hold manifests: a record may be larger than the default fetch.
FETCH_BYTES = 16 * 1024**2


def new_consumer(bootstrap_servers: str, fetch_bytes: int = FETCH_BYTES) -> Consumer:
    """Return a group-less read_committed consumer: ``fetch_bytes`` at once of each partition."""
    return Consumer(
        bootstrap_servers=bootstrap_servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=fetch_bytes,
        retry_backoff_ms=20,
    )


def partitions_of(topic: Topic) -> list[TopicPartition]:
    """Return every partition of ``topic``."""
    return [TopicPartition(topic.name, number) for number in range(topic.partitions)]


async def read(
    bootstrap_servers: str,
    where: Sequence[TopicPartition],
    *,
    follow: bool = False,
    from_beginning: bool = True,
    after: int = -1,
) -> AsyncGenerator[Any, None]:
    """Yield the committed records (aiokafka.ConsumerRecord), each partition's in its order.

    From their beginning, or behind the offset ``after``, or from their present end on.
    Ends at what is the partitions' end now, or goes on (``follow``). Whoever leaves early closes it
    (``contextlib.aclosing``).
    """
    consumer = new_consumer(bootstrap_servers)
    await consumer.start()
    try:
        consumer.assign(where)
        ends = await Ends(consumer, where).now()
        if after >= 0:
            for partition in where:
                consumer.seek(partition, after + 1)
        elif from_beginning:
            await consumer.seek_to_beginning(*where)
        else:
            for partition, end in ends.items():
                consumer.seek(partition, end)
        # Positions, not the last record's offset: transaction markers take offsets too.
        while follow or any([await consumer.position(part) < end for part, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()


async def has_records(bootstrap_servers: str, where: TopicPartition, after: int = -1) -> bool:
    """Return whether there is a committed record behind the offset ``after``."""
    async with aclosing(read(bootstrap_servers, [where], after=after)) as records:
        async for _ in records:
            return True
    return False
