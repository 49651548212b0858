"""What Baton is compared with: an echo that does nothing, and the loops that people write."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine

import joblib
import pandas as pd
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from transport.settings import Settings
from transport.transactions import Write, append

GROUP = "bench-peer"


async def echo(settings: Settings) -> None:
    """Copy requests to responses in record batches, at least once: the ceiling of this client."""
    topics = settings.topics
    async with (
        _consumer(settings, topics.requests.name) as consumer,
        _producer(settings) as producer,
    ):
        while True:
            batches = await consumer.getmany(timeout_ms=500, max_records=4000)
            writes = [
                Write(topics.responses.name, r.partition, r.key, r.value, r.headers)
                for records in batches.values()
                for r in records
            ]
            await asyncio.gather(*await append(producer, writes))
            if writes:
                await consumer.commit()


async def loop(settings: Settings, model: str) -> None:
    """Score message by message, at least once: decode, predict, send."""
    estimator = joblib.load(model)
    topics = settings.topics
    async with (
        _consumer(settings, topics.requests.name) as consumer,
        _producer(settings) as producer,
    ):
        async for record in consumer:
            (table,) = json.loads(record.value)["input_data"]
            frame = pd.DataFrame(table["values"], columns=table["fields"])
            labels, shares = estimator.predict(frame), estimator.predict_proba(frame)
            rows = [
                [label, list(share)] for label, share in zip(labels.tolist(), shares, strict=True)
            ]
            answer = {"predictions": [{"fields": ["prediction", "probability"], "values": rows}]}
            await producer.send(
                topics.responses.name,
                json.dumps(answer).encode(),
                partition=record.partition,
                headers=list(record.headers),
            )


async def one_by_one(settings: Settings) -> None:
    """Answer each command with an event in a transaction of its own: the plain exactly once."""
    topics = settings.topics
    async with (
        _consumer(settings, topics.commands.name) as consumer,
        AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap_servers, transactional_id=GROUP, retry_backoff_ms=5
        ) as producer,
    ):
        async for record in consumer:
            where = TopicPartition(record.topic, record.partition)
            async with producer.transaction():
                await producer.send(topics.events.name, record.value, partition=record.partition)
                await producer.send_offsets_to_transaction({where: record.offset + 1}, GROUP)


def _consumer(settings: Settings, topic: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        topic,
        bootstrap_servers=settings.bootstrap_servers,
        group_id=GROUP,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 * 1024**2,
    )


def _producer(settings: Settings) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, linger_ms=5, max_batch_size=900_000
    )


PEERS: dict[str, Callable[..., Coroutine[None, None, None]]] = {
    "echo": echo,
    "loop": loop,
    "one-by-one": one_by_one,
}

if __name__ == "__main__":
    # The broker's answers while it verifies a transaction: harmless, and many.
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(PEERS[sys.argv[1]](Settings.from_env(os.environ), *sys.argv[2:]))
