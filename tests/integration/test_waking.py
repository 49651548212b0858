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
from transport.embedded import EmbeddedKafka, config
from transport.topic_ids import describe
from transport.transactions import FencedProducer, Write

pytestmark = pytest.mark.broker

# Its session is over long before it is heard of again: of four seconds it names itself for two.
DROWSY = """\
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=4000
"""
# No broker is to end what a slow machine has not.
OPEN_MS = int(DEADLINE_S * 1000)
# Long enough to be fenced several times.
FENCED_S = 16.0


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


async def test_a_topic_is_created_once_there_is_a_broker_to_hold_it(settings, monkeypatch, caplog):
    async def fenced_behind_it(connected, names):
        found = await describe(connected, names)
        if not found:
            await until_it_names_none(settings)
        return found

    monkeypatch.setattr(admin, "describe", fenced_behind_it)

    async def created_late():
        other = replace(settings, topic_prefix=f"{uuid.uuid4().hex}.")
        await ensure_topics(other.bootstrap_servers, other.topics)
        return "All brokers are currently fenced" in caplog.text

    await eventually(created_late, "topics that had to wait")


async def committed(settings, partition):
    """Commit in short terms until it has been fenced a few times; what was committed."""
    told = []
    begun = time.monotonic()
    while time.monotonic() - begun < FENCED_S:
        name = uuid.uuid4().hex
        producer = FencedProducer(settings.bootstrap_servers, name, timeout_ms=OPEN_MS)
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
