"""The ceiling: requests copied to responses in record batches, in the same transactions as Baton's.

Nothing is decoded and nothing predicted: what a process of this language and this client could do
at most if scoring took no time. A transactional id for each partition, offsets inside.
"""

import asyncio
import os

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from scoring.settings import ScoringSettings
from telemetry.logs import configure
from transport.reading import partitions_of
from transport.settings import Settings
from transport.transactions import FencedProducer, Write

FETCH_BYTES = 8 * 1024**2
POLL_MS = 500


async def ceiling(settings: Settings) -> None:
    """Echo every partition's requests until cancelled."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        group_id=settings.app,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        retry_backoff_ms=20,
    )
    await consumer.start()
    try:
        where = partitions_of(settings.topics.requests)
        # One process has them all: assigned by hand, there is no rebalance to be right about.
        consumer.assign(where)
        async with asyncio.TaskGroup() as group:
            for partition in where:
                group.create_task(_echo(settings, consumer, partition))
    finally:
        await consumer.stop()


async def _echo(settings: Settings, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
    producer = FencedProducer(
        settings.bootstrap_servers, f"{settings.app}-{partition.topic}-{partition.partition}"
    )
    await producer.start()
    responses, largest = settings.topics.responses.name, ScoringSettings(settings).max_batch
    try:
        while True:
            fetched = await consumer.getmany(partition, timeout_ms=POLL_MS, max_records=largest)
            records = fetched.get(partition)
            if not records:
                continue
            writes = [Write(responses, r.partition, r.key, r.value, r.headers) for r in records]
            end = OffsetAndMetadata(records[-1].offset + 1, "")
            await producer.commit(writes, {partition: end}, settings.app)
    finally:
        await producer.stop()


if __name__ == "__main__":
    configure()
    asyncio.run(ceiling(Settings.from_env(os.environ)))
