"""The ceiling: requests copied to responses in record batches, in the same transactions as Baton's.

Nothing is decoded and nothing predicted: what a process of this language and this client could do
at most if scoring took no time. It reads ahead and commits by the agent's own modules.
"""

import asyncio
import os

from aiokafka import AIOKafkaConsumer, TopicPartition

from scoring.delivery import Delivery, new_delivery
from scoring.intake import Intake
from scoring.places import Place
from scoring.settings import ScoringSettings
from telemetry.logs import configure
from transport.reading import partitions_of
from transport.settings import Settings
from transport.transactions import Write

FETCH_BYTES = 8 * 1024**2


async def ceiling(settings: Settings) -> None:
    """Echo every partition's requests until cancelled."""
    scoring = ScoringSettings(settings)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        group_id=scoring.group,
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
        delivery = new_delivery(scoring, consumer)
        try:
            async with asyncio.TaskGroup() as group:
                for partition in where:
                    group.create_task(_echo(scoring, consumer, delivery, partition))
        finally:
            await delivery.stop()
    finally:
        await consumer.stop()


async def _echo(
    scoring: ScoringSettings,
    consumer: AIOKafkaConsumer,
    delivery: Delivery,
    partition: TopicPartition,
) -> None:
    responses = scoring.kafka.topics.responses.name
    place = await delivery.take(partition)
    consumer.seek(partition, place.offset)
    intake = Intake(consumer, partition, scoring.max_batch)
    intake.start()
    try:
        while True:
            records = await intake.take()
            delivery.prepare()
            writes = [Write(responses, r.partition, r.key, r.value, r.headers) for r in records]
            await delivery.commit(writes, partition, Place(records[-1].offset + 1))
    finally:
        await intake.stop()


if __name__ == "__main__":
    configure()
    asyncio.run(ceiling(Settings.from_env(os.environ)))
