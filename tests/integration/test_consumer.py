"""A consumer stops whenever it is told to, and leaves nothing open."""

import asyncio
import gc
from contextlib import aclosing

import anyio
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError

from tests.support import eventually, new_settings
from transport.admin import ensure_topics
from transport.reading import new_consumer, read

pytestmark = pytest.mark.broker


def connected(consumer):
    return any(connection.connected() for connection in consumer._client._conns.values())


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
    assert not connected(consumer)


async def test_a_consumer_whose_start_is_cancelled_leaves_nothing_open(bootstrap_servers):
    for steps in range(12):
        consumer = new_consumer(bootstrap_servers)
        starting = asyncio.create_task(consumer.start())
        for _ in range(steps):
            await asyncio.sleep(0.001)
        starting.cancel()
        await asyncio.wait([starting])
        # As whoever is told to end does, in its `finally`.
        await consumer.stop()
        assert not connected(consumer), steps
        assert consumer._closed


async def test_a_consumer_that_finds_no_broker_leaves_nothing_open():
    consumer = new_consumer("127.0.0.1:1")
    with pytest.raises(KafkaConnectionError):
        await consumer.start()
    assert consumer._closed


async def test_a_consumer_stops_though_who_waits_for_it_is_cancelled_again_and_again(
    bootstrap_servers, tmp_path
):
    settings = new_settings(bootstrap_servers, tmp_path)
    await ensure_topics(bootstrap_servers, settings.topics)
    where = TopicPartition(settings.topics.requests.name, 0)

    async def follow():
        async with aclosing(read(bootstrap_servers, [where], follow=True)) as records:
            await anext(records)

    before = set(asyncio.all_tasks())
    # A scope of anyio, in which a page's stream runs, cancels whatever is awaited in it once ended.
    with anyio.move_on_after(1):
        await follow()

    async def nothing_is_left():
        return set(asyncio.all_tasks()) <= before

    await eventually(nothing_is_left, "the reader has stopped")
    gc.collect()
