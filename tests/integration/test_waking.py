"""A broker that stood still is fenced: for a moment after it woke up it names no broker at all."""

import asyncio

import pytest
from aiokafka.client import AIOKafkaClient

from client import BatonClient
from tests.support import DEADLINE_S, eventually
from transport.admin import ensure_topics
from transport.embedded import EmbeddedKafka, config
from transport.transactions import FencedProducer

pytestmark = pytest.mark.broker

# Its session is over long before it is heard of again: of three seconds it names itself for one.
DROWSY = """\
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=3000
"""


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


@pytest.mark.parametrize("connect", [topics, fence, a_client])
async def test_who_connects_while_it_names_none_waits_until_it_does(settings, connect):
    async def names_none():
        asked = AIOKafkaClient(bootstrap_servers=settings.bootstrap_servers)
        try:
            await asked.bootstrap()
            return not asked.cluster.brokers()
        finally:
            await asked.close()

    await eventually(names_none, "the broker names none")
    async with asyncio.timeout(DEADLINE_S):
        await connect(settings)
