"""A consumer stops whenever it is told to."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import RequestTimedOutError

from tests.support import new_settings
from transport.admin import ensure_topics
from transport.reading import new_consumer

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("steps", range(3))
async def test_a_consumer_stops_just_after_its_partitions_changed(
    bootstrap_servers, tmp_path, steps
):
    settings = new_settings(bootstrap_servers, tmp_path)
    await ensure_topics(bootstrap_servers, settings.topics)
    one, other = (TopicPartition(settings.topics.requests.name, number) for number in (0, 1))
    consumer = new_consumer(bootstrap_servers)
    await consumer.start()
    consumer.assign([one])
    # A fetch is under way, and is cancelled by what comes now.
    await consumer.getmany(timeout_ms=50)
    consumer.assign([other])
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await consumer.stop()


async def test_a_consumer_stops_while_a_fetch_waits_to_be_tried_again(
    bootstrap_servers, tmp_path, monkeypatch
):
    settings = new_settings(bootstrap_servers, tmp_path)
    await ensure_topics(bootstrap_servers, settings.topics)
    consumer = new_consumer(bootstrap_servers)
    await consumer.start()
    failed = asyncio.Event()

    async def fails(*_, **__):
        failed.set()
        raise RequestTimedOutError

    monkeypatch.setattr(consumer._fetcher, "_retry_backoff", 60)
    monkeypatch.setattr(consumer._client, "send", fails)
    consumer.assign([TopicPartition(settings.topics.requests.name, 0)])
    consumer.seek(TopicPartition(settings.topics.requests.name, 0), 0)
    async with asyncio.timeout(5):
        await failed.wait()
        # It has failed, and waits.
        await asyncio.sleep(0)
        await consumer.stop()
    assert not any(connection.connected() for connection in consumer._client._conns.values())
