"""What has nothing to do for a week does the next thing as promptly as any other.

A broker forgets the transactional ids that are not used: this one after seconds.
"""

import asyncio

import pytest
from aiokafka.errors import InvalidProducerIdMapping

import scoring.pipeline
import worker.owner
from client import ScoringClient
from client.errors import ScoringError
from scoring.agent import Agent
from scoring.settings import ScoringSettings
from tests.support import DEADLINE_S, kafka_with
from transport.transactions import FencedProducer, Write
from worker.inbox import CommandMessage
from worker.lifecycle.rules import Rules
from worker.owner import Duties, PartitionOwner

pytestmark = pytest.mark.broker

FORGETFUL = """\
transactional.id.expiration.ms=8000
transaction.remove.expired.transaction.cleanup.interval.ms=500
"""
LOOK_S = 0.5


@pytest.fixture(scope="module")
def bootstrap_servers(tmp_path_factory):
    """A broker of its own, that forgets soon."""
    with kafka_with(FORGETFUL, tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka.bootstrap_servers


@pytest.fixture
async def forgotten(settings):
    """Wait until the broker has forgotten every id that has not been used since this was called."""

    async def ago():
        # Each of them can be asked once: then it has been used.
        idle = [
            FencedProducer(settings.bootstrap_servers, f"{settings.app}-idle-{number}")
            for number in range(60)
        ]
        await asyncio.gather(*(producer.start() for producer in idle))
        write = Write(settings.topics.dead_letters.name, 0, b"k", b"v")
        try:
            for producer in idle:
                await asyncio.sleep(LOOK_S)
                try:
                    await producer.commit([write])
                except InvalidProducerIdMapping:
                    return
            pytest.fail("the broker remembers them all")
        finally:
            # One of them is broken.
            ends = (producer.stop() for producer in idle)
            await asyncio.gather(*ends, return_exceptions=True)

    return ago


def fail(error):
    raise AssertionError(error)


async def test_an_agent_answers(settings, forgotten, monkeypatch):
    monkeypatch.setattr(scoring.pipeline, "REFRESH_S", 1.0)
    agent = Agent(ScoringSettings(settings), fail)
    await agent.start()
    try:
        async with ScoringClient(settings, timeout_s=DEADLINE_S) as client:
            await forgotten()
            with pytest.raises(ScoringError, match="deployment_not_found"):
                await client.score("nobody", [[1.0]])
    finally:
        await agent.stop()


async def test_an_owner_applies(settings, forgotten, monkeypatch):
    monkeypatch.setattr(worker.owner, "REFRESH_S", 1.0)
    owner = PartitionOwner(Duties(settings, Rules({}, ("/s",)), None, fail), 0)
    await owner.start()
    try:
        await forgotten()
        await owner.apply([CommandMessage(0, 0, 1_800_000_000_000, b"k", b"garbage", [])])
        assert owner.offset == 0
    finally:
        await owner.close()
