"""The moments that chaos rarely hits, made on purpose inside one process on the real broker."""

import asyncio
import json
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced

import scoring.resolver
from client import BatonClient, ScoringClient
from schemas.cloudevents import CloudEvent, encode
from scoring.agent import Agent
from scoring.delivery import new_delivery
from scoring.pipeline import Pipeline
from scoring.scorer import Scored
from scoring.settings import ScoringSettings
from tests.checker import log_of
from tests.support import DEADLINE_S, Stack, eventually, new_settings, read_all
from transport.admin import ensure_topics
from transport.state_view import StateView
from transport.transactions import FencedProducer, Write
from worker.inbox import CommandMessage
from worker.lifecycle.rules import Rules
from worker.owner import Duties, PartitionOwner

pytestmark = pytest.mark.broker


def fail(error):
    raise AssertionError(error)


class LateView(StateView):
    """A view that hears of everything half a second late, as on a busy machine."""

    async def _follow(self):
        getmany = self._consumer.getmany

        async def late(**more):
            await asyncio.sleep(0.5)
            return await getmany(**more)

        self._consumer.getmany = late
        await super()._follow()


async def test_no_answer_is_older_than_what_was_announced_however_late_the_view(
    own, start, tmp_path, monkeypatch
):
    monkeypatch.setattr(scoring.resolver, "StateView", LateView)
    start("worker", own).ready()
    agent = Agent(ScoringSettings(own), fail)
    await agent.start()
    try:
        async with BatonClient(own) as baton, ScoringClient(own, timeout_s=DEADLINE_S) as client:
            stack = Stack(own, tmp_path, baton, client)
            space, deployment, assets = await stack.deployed("binary", "binary")
            for turn in (1, 2, 3):
                done = await baton.replace_asset(space, deployment, assets[turn % 2])
                answer = await client.score(deployment, [[1.0, 0.0, 0.0]])
                assert (answer.revision, done.revision) == (turn + 1, turn + 1)
    finally:
        await agent.stop()


class Echo:
    """A scorer that answers each request by itself, when it is let."""

    def __init__(self, topic):
        self.topic = topic
        self.fetched, self.go = asyncio.Event(), asyncio.Event()

    async def score(self, records):
        self.fetched.set()
        await self.go.wait()
        return Scored([Write(self.topic.name, r.partition, r.key, r.value) for r in records], {})


class TwoAgents:
    """Two pipelines of one partition, each with what its agent commits by."""

    def __init__(self, settings):
        self.settings = settings
        self.partition = TopicPartition(settings.topics.requests.name, 0)
        self.echoes = [Echo(settings.topics.responses) for _ in range(2)]
        self.consumers = [
            AIOKafkaConsumer(
                bootstrap_servers=settings.bootstrap_servers,
                group_id=ScoringSettings(settings).group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
            )
            for _ in range(2)
        ]
        self.deliveries = [
            new_delivery(ScoringSettings(settings), consumer) for consumer in self.consumers
        ]
        self.pipelines = []

    async def begin(self, number, wrapped=lambda delivery: delivery):
        consumer = self.consumers[number]
        await consumer.start()
        consumer.assign([self.partition])
        pipeline = Pipeline(
            self.partition,
            consumer,
            wrapped(self.deliveries[number]),
            self.echoes[number],
            max_batch=100,
            on_failure=fail,
        )
        self.pipelines.append(pipeline)
        return pipeline

    async def end(self):
        for echo in self.echoes:
            echo.go.set()
        for pipeline in self.pipelines:
            await pipeline.stop()
        for delivery in self.deliveries:
            await delivery.stop()
        for consumer in self.consumers:
            await consumer.stop()

    async def answers(self):
        found = await read_all(self.settings, self.settings.topics.responses)
        return sorted(int(record.value) for record in found)


@pytest.fixture
async def two(bootstrap_servers, tmp_path):
    settings = new_settings(bootstrap_servers, tmp_path)
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for number in range(10):
            topic = settings.topics.requests.name
            await producer.send_and_wait(topic, str(number).encode(), partition=0)
    agents = TwoAgents(settings)
    yield agents
    await agents.end()


async def test_a_batch_of_an_agent_that_was_replaced_meanwhile_is_not_answered_twice(two):
    first = await two.begin(0)
    await two.echoes[0].fetched.wait()
    # The group has given the partition to another, while the first has a batch in hand.
    two.echoes[1].go.set()
    second = await two.begin(1)

    async def scored():
        return second.position == 10

    await eventually(scored, "the second agent has answered")
    two.echoes[0].go.set()

    async def fenced():
        return first.fenced_at is not None

    await eventually(fenced, "the first agent finds itself fenced")
    assert await two.answers() == list(range(10))


async def test_a_rebalance_does_not_wait_for_a_batch_that_waits_for_the_state(two):
    first = await two.begin(0)
    await two.echoes[0].fetched.wait()
    # It is never let: as while a dead worker's transaction is open.
    async with asyncio.timeout(5):
        await first.stop()
    assert first.position == 0
    two.echoes[1].go.set()
    second = await two.begin(1)

    async def scored():
        return second.position == 10

    await eventually(scored, "the second agent has answered")
    assert await two.answers() == list(range(10))


class LateTake:
    """Takes over once the other agent has committed what it had in hand."""

    def __init__(self, inner, before):
        self.inner, self.before = inner, before
        self.prepare, self.commit = inner.prepare, inner.commit

    async def take(self, partition):
        await self.before()
        return await self.inner.take(partition)


async def test_what_the_predecessor_commits_at_the_last_moment_is_not_answered_again(two):
    first = await two.begin(0)
    await two.echoes[0].fetched.wait()
    two.echoes[1].go.set()

    async def committed():
        two.echoes[0].go.set()

        async def scored():
            return first.position == 10

        await eventually(scored, "the first agent has committed")

    second = await two.begin(1, lambda delivery: LateTake(delivery, committed))
    await second.ready.wait()
    assert second.position == 10
    assert await two.answers() == list(range(10))


def create_space(offset, space):
    attributes = {"specversion": "1.0", "id": space, "source": "/test"}
    attributes["type"] = "baton.command.create-space.v1"
    headers, _ = encode(CloudEvent(attributes))
    value = json.dumps({"space_id": space, "name": space}).encode()
    return CommandMessage(0, offset, 1_800_000_000_000, b"k", value, headers)


async def test_an_owner_that_was_replaced_meanwhile_can_write_nothing(bootstrap_servers, tmp_path):
    from dataclasses import replace

    # One partition: each space is at home there.
    settings = replace(new_settings(bootstrap_servers, tmp_path), control_partitions=1)
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    duties = Duties(settings, Rules({}, ("/s",)), None, fail)
    # As many as are applied here: an owner compares its cursor with the topic's end.
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for _ in range(4):
            await producer.send_and_wait(settings.topics.commands.name, b"{}", partition=0)
    first = PartitionOwner(duties, 0)
    await first.start()
    garbage = CommandMessage(0, 2, 1_800_000_000_000, b"k", b"garbage")
    await first.apply([create_space(0, "a"), create_space(1, "b"), garbage])
    second = PartitionOwner(duties, 0)
    await second.start()
    assert second.offset == 2
    with pytest.raises(ProducerFenced):
        await first.apply([create_space(3, "c")])
    # Delivered again, as Faust may: what lies before the cursor is skipped.
    await second.apply([create_space(1, "b"), garbage, create_space(3, "c")])
    assert [(event.sequence, event.data.space_id) for event in await log_of(settings)] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]
    letters = await read_all(settings, settings.topics.dead_letters)
    assert [letter.value for letter in letters] == [b"garbage"]
    await second.close()
    await first.close()


async def test_a_worker_that_stands_still_before_waiting_commands_is_ended(
    bootstrap_servers, tmp_path, monkeypatch
):
    from dataclasses import replace

    from worker import progress

    monkeypatch.setattr(progress, "WATCH_S", 0.1)
    monkeypatch.setattr(progress, "STALLED_S", 1.0)
    settings = replace(new_settings(bootstrap_servers, tmp_path), control_partitions=1)
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    owner = PartitionOwner(Duties(settings, Rules({}, ("/s",)), None, fail), 0)
    await owner.start()
    failed = asyncio.get_running_loop().create_future()
    watching = asyncio.create_task(
        progress.watch_progress(settings, lambda: [owner], failed.set_result)
    )
    try:
        # An aborted command and its marker take offsets, and are no command that waits.
        producer = FencedProducer(settings.bootstrap_servers, f"{settings.app}-test")
        await producer.start()
        await producer._producer.begin_transaction()
        topic = settings.topics.commands.name
        await producer._producer.send_and_wait(topic, b"taken back", partition=0)
        await producer._producer.abort_transaction()
        await producer.stop()
        await asyncio.sleep(3)
        assert not failed.done()
        # Idle for longer than a command may wait: one that comes now is not late.
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as plain:
            begun = time.monotonic()
            await plain.send_and_wait(topic, b"waits", partition=0)
        async with asyncio.timeout(DEADLINE_S):
            assert "wait for" in str(await failed)
        assert time.monotonic() - begun > progress.STALLED_S
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await owner.close()
