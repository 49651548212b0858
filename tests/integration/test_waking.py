"""A broker that stood still is fenced: for a moment after it woke up it names no broker at all."""

import asyncio
import time
import uuid
from dataclasses import replace

import pytest
from aiokafka.client import AIOKafkaClient

from client import BatonClient
from tests.support import DEADLINE_S, eventually, read_all
from transport import admin
from transport.admin import ensure_topics
from transport.connecting import admin_at
from transport.embedded import EmbeddedKafka, config
from transport.transactions import FencedProducer, Write

pytestmark = pytest.mark.broker

# Its session is over long before it is heard of again: of three seconds it names itself for one.
DROWSY = """\
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=3000
"""
# Long enough to be fenced several times.
FENCED_S = 12.0


@pytest.fixture(scope="module")
def bootstrap_servers(tmp_path_factory):
    """A broker of its own, that is fenced again and again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "SERVER", config.SERVER + DROWSY)
        with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
            yield kafka.bootstrap_servers


async def topics(settings):
    await ensure_topics(settings.bootstrap_servers, settings.topics)


async def fence(settings):
    producer = FencedProducer(settings.bootstrap_servers, settings.app)
    try:
        await producer.start()
    finally:
        await producer.stop()


async def a_client(settings):
    async with BatonClient(settings, timeout_s=DEADLINE_S):
        pass


async def until_it_names_none(settings):
    async def names_none():
        asked = AIOKafkaClient(bootstrap_servers=settings.bootstrap_servers)
        try:
            await asked.bootstrap()
            return not asked.cluster.brokers()
        finally:
            await asked.close()

    await eventually(names_none, "the broker names none")


@pytest.mark.parametrize("connect", [topics, fence, a_client])
async def test_who_connects_while_it_names_none_waits_until_it_does(settings, connect):
    await until_it_names_none(settings)
    async with asyncio.timeout(DEADLINE_S):
        await connect(settings)


async def test_a_topic_is_created_once_there_is_a_broker_to_hold_it(settings, caplog):
    other = replace(settings, topic_prefix=f"new-{settings.topic_prefix}")
    async with admin_at(settings.bootstrap_servers) as connected:
        await until_it_names_none(settings)
        await admin._ensured(connected, other.topics, time.monotonic() + DEADLINE_S)
    assert "All brokers are currently fenced" in caplog.text


async def committed(settings, partition):
    """Commit in short terms until it has been fenced a few times; what was committed."""
    told = []
    begun = time.monotonic()
    while time.monotonic() - begun < FENCED_S:
        producer = FencedProducer(settings.bootstrap_servers, uuid.uuid4().hex)
        try:
            await producer.start()
            for _ in range(3):
                value = uuid.uuid4().bytes
                write = Write(settings.topics.responses.name, partition, b"k", value)
                await producer.commit([write])
                told.append(value)
        finally:
            await producer.stop()
    return told


async def test_no_transaction_stays_open_that_ends_while_its_partition_has_no_leader(settings):
    each = await asyncio.gather(*(committed(settings, n) for n in (0, 0, 0, 1, 1, 1)))
    sent = {value for told in each for value in told}

    async def readable():
        return {r.value for r in await read_all(settings, settings.topics.responses)} == sent

    await eventually(readable, "what was committed can be read")
