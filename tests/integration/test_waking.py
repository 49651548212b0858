"""A broker that stood still is fenced: for a moment after it woke up it names no broker at all."""

import asyncio
import time
import uuid
from dataclasses import replace

import pytest
from aiokafka.client import AIOKafkaClient

from client import BatonClient
from tests.support import DEADLINE_S, eventually, kafka_with, read_all
from transport import admin
from transport.admin import ensure_topics
from transport.topic_ids import describe
from transport.transactions import FencedProducer, Write

pytestmark = pytest.mark.broker

# Its session is over before it is heard of again: of three seconds it names itself for half.
DROWSY = """\
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=3000
"""
# No broker is to end what a slow machine has not.
OPEN_MS = int(DEADLINE_S * 1000)
# Long enough to be fenced several times.
FENCED_S = 16.0


@pytest.fixture(scope="module")
def bootstrap_servers(tmp_path_factory):
    """A broker of its own, that is fenced again and again."""
    with kafka_with(DROWSY, tmp_path_factory.mktemp("kafka")) as kafka:
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
    """Commit, each time as another producer, until the broker has been fenced; what was committed.

    The next of the same producer would end what its last one left open.
    """
    told = []
    begun = time.monotonic()
    while time.monotonic() - begun < FENCED_S:
        name = uuid.uuid4().hex
        producer = FencedProducer(settings.bootstrap_servers, name, timeout_ms=OPEN_MS)
        try:
            await producer.start()
            value = name.encode()
            await producer.commit([Write(settings.topics.responses.name, partition, b"k", value)])
            told.append(value)
        finally:
            await producer.stop()
    return told


async def test_no_transaction_stays_open_that_ends_while_its_partition_has_no_leader(settings):
    # The more partitions there are, the longer it takes until all is known that has changed.
    wide = replace(settings, topic_prefix=f"{uuid.uuid4().hex}.", data_partitions=4)
    await ensure_topics(wide.bootstrap_servers, wide.topics)
    each = await asyncio.gather(*(committed(wide, n % 4) for n in range(8)))
    sent = {value for told in each for value in told}

    async def readable():
        return {r.value for r in await read_all(wide, wide.topics.responses)} == sent

    await eventually(readable, "what was committed can be read")
