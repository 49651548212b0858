"""A Kafka of three brokers: one is away, or stands still and wakes up deposed."""

import asyncio
import contextlib
import signal

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from client import BatonClient, ScoringClient
from client.diagnosis import diagnose
from client.findings import Level
from tests.chaos.brokers import Brokers
from tests.support import DEADLINE_S, Stack, eventually
from transport.broker_version import broker_version
from transport.connecting import admin_at
from transport.state_view import StateView

pytestmark = pytest.mark.broker

ROUNDS = 2
# Each asks on a connection of its own when the deposed leader wakes up: one stale answer is enough.
VIEWS = 4
ASKED_S = 1.0
ROW = [[0.1, 0.2, 0.3]]


@pytest.fixture(scope="module")
def brokers(tmp_path_factory):
    with Brokers(tmp_path_factory.mktemp("kafka"), 3) as found:
        yield found


@pytest.fixture(scope="module")
def bootstrap_servers(brokers):
    """Those of the brokers of this module."""
    return brokers.bootstrap_servers


@pytest.fixture
async def views(settings):
    found = [StateView(settings.bootstrap_servers, settings.topics.state) for _ in range(VIEWS)]
    await asyncio.gather(*(view.start() for view in found))
    yield found
    await asyncio.gather(*(view.stop() for view in found))


async def leader(servers, where):
    """Who leads a partition, as one of ``servers`` has it; None where that does not answer."""
    try:
        async with admin_at(servers, request_timeout_ms=2000) as admin:
            (found,) = await admin.describe_topics([where.topic])
    except KafkaError:
        return None
    led = {p["partition"]: p["leader"] for p in found["partitions"]}[where.partition]
    return None if led < 0 else led


async def deposed(brokers, settings, where):
    """Pause who leads a partition; its name, and the addresses of the others once one leads."""
    servers = settings.bootstrap_servers.split(",")

    old = None

    async def led():
        nonlocal old
        old = await leader(servers, where)
        return old is not None

    await eventually(led, "somebody leads")
    others = [server for node, server in enumerate(servers, start=1) if node != old]
    brokers.signal(f"broker-{old}", signal.SIGSTOP)

    async def elected():
        return await leader(others, where) not in {old, None}

    await eventually(elected, "another leads")
    return f"broker-{old}", others


async def written(others, where, value):
    async def acknowledged():
        # The other may not have heard of the new leader, and name the one that stands still.
        with contextlib.suppress(KafkaError):
            async with AIOKafkaProducer(
                bootstrap_servers=others, acks="all", request_timeout_ms=5000
            ) as producer:
                await producer.send_and_wait(
                    where.topic, value, b"space/s", partition=where.partition
                )
                return True
        return False

    await eventually(acknowledged, "the new leader has it")


async def test_a_leader_that_wakes_up_deposed_makes_no_view_stale(brokers, settings, views):
    where = TopicPartition(settings.topics.state.name, 0)
    for turn in range(ROUNDS):
        name, others = await deposed(brokers, settings, where)
        value = b"%d" % turn
        try:
            await written(others, where, value)
            # Whoever begins now must find it: those who wrote it may have told of it.
            current = [asyncio.create_task(view.catch_up()) for view in views]
            await asyncio.wait(current, timeout=ASKED_S)
        finally:
            brokers.signal(name, signal.SIGCONT)
        await asyncio.gather(*current)
        assert [view.get("space/s") for view in views] == [value] * VIEWS


async def test_a_view_is_current_while_the_leader_stands_still(brokers, settings, views):
    where = TopicPartition(settings.topics.state.name, 0)
    name, others = await deposed(brokers, settings, where)
    try:
        await written(others, where, b"new")
        await asyncio.gather(*(view.catch_up() for view in views))
        assert [view.get("space/s") for view in views] == [b"new"] * VIEWS
    finally:
        brokers.signal(name, signal.SIGCONT)


async def test_the_doctor_tells_how_many_copies_there_are_and_acknowledge(settings):
    async def found():
        async with contextlib.aclosing(diagnose(settings)) as findings:
            async for one in findings:
                if one.check == "copies":
                    return one
        raise AssertionError("nothing is said of the copies")

    copies = await found()
    assert copies.level is Level.OK
    assert "3 of each topic, a write is acknowledged by 2 of them" in copies.message
    async with admin_at(settings.bootstrap_servers) as admin:
        topic = settings.topics.events
        # What is not named would be taken back to its default.
        told = dict(topic.config) | {"min.insync.replicas": "1"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, told)])
    copies = await found()
    assert copies.level is Level.WARN
    assert copies.advice.startswith("set min.insync.replicas to 2")


async def test_a_live_model_is_replaced_while_one_of_three_brokers_is_away(
    brokers, settings, start, tmp_path
):
    # The first of the servers that everybody is given.
    brokers.kill("broker-1")
    try:
        for service in [start(name, settings) for name in ("worker", "scoring")]:
            await asyncio.to_thread(service.ready)
        async with (
            BatonClient(settings, source="/test", timeout_s=DEADLINE_S) as baton,
            ScoringClient(settings, timeout_s=DEADLINE_S) as scoring,
        ):
            stack = Stack(settings, tmp_path, baton, scoring)
            space, deployment, (_, two) = await stack.deployed()
            assert (await scoring.score(deployment, ROW)).revision == 1
            await baton.replace_asset(space, deployment, two)
            assert (await scoring.score(deployment, ROW)).revision == 2
        assert await broker_version(settings.bootstrap_servers)
    finally:
        brokers.start("broker-1")
