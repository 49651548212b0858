"""Models that passed their verification and misbehave later: they cost nobody else an answer."""

import asyncio
import time
import uuid

import pytest

from bench.hostile.moods import MOODS, Moody
from client import ScoreRequest, ScoringClient, ScoringError
from tests.checker import assert_each_answered_once
from tests.support import DEADLINE_S, Stack, eventually, new_settings, until_there
from transport.admin import ensure_topics

pytestmark = pytest.mark.broker

LIMIT_MS = 6000
GOOD = [[1.0, 0.0, 0.0]]
BAD = [[Moody.MOOD, 0.0, 0.0]]


@pytest.fixture(scope="module")
async def hostile(own, tmp_path_factory):
    """A stack whose agent gives a model little time and memory."""
    from client import BatonClient
    from tests.support import Process

    folder = tmp_path_factory.mktemp("hostile")
    services = [
        Process("worker", own, folder),
        Process(
            "scoring",
            own,
            folder,
            BATON_PREDICT_TIME_LIMIT_MS=str(LIMIT_MS),
            BATON_MODEL_MEMORY_MB="1024",
            BATON_REVISION_WAIT_MS=str(LIMIT_MS),
        ),
    ]
    try:
        for service in services:
            service.ready()
        async with (
            BatonClient(own, source="/test", timeout_s=DEADLINE_S) as baton,
            ScoringClient(own, timeout_s=DEADLINE_S) as scoring,
        ):
            stack = Stack(own, folder, baton, scoring)
            stack.agent = services[1]
            yield stack
        assert [service.stop() for service in services] == [0, 0], services[1].tail()
    finally:
        for service in services:
            if service.popen.poll() is None:
                service.kill()


async def moody(stack, mood):
    """Deploy a model of that mood: its sample rows are good ones."""
    manifest = stack.holding(Moody(mood), "regression")
    space = f"s{uuid.uuid4().hex[:6]}"
    await stack.baton.create_space(space)
    asset = await stack.baton.promote_asset(space, manifest)
    return (await stack.baton.create_deployment(space, asset.asset_id, "d")).deployment_id


async def timed(scoring, deployment, values=GOOD):
    """Seconds to an answer."""
    began = time.monotonic()
    await scoring.score(deployment, values)
    return time.monotonic() - began


async def bystanders(stack, deployment, until_done):
    """The seconds that others' requests took while ``until_done`` ran, on every partition."""
    took = []
    while not until_done.done():
        took += await asyncio.gather(*(timed(stack.scoring, deployment) for _ in range(4)))
    return sorted(took)


LEAK = "leaks 100 MB a call"


@pytest.mark.parametrize("mood", [mood for mood in MOODS if mood != LEAK])
async def test_a_request_that_harms_its_model_harms_nobody_else(hostile, mood):
    _, good, _ = await hostile.deployed("binary")
    bad = await moody(hostile, MOODS[mood])
    await hostile.scoring.score(bad, GOOD)
    pid = hostile.agent.popen.pid
    harm = asyncio.gather(
        *(hostile.scoring.score(bad, rows) for rows in (GOOD, BAD, GOOD)), return_exceptions=True
    )
    took = await bystanders(hostile, good, harm)
    first, harmed, last = await harm
    assert isinstance(harmed, ScoringError)
    assert harmed.reason == "model_error"
    if mood not in {"sleeps for ever", "never ends"}:
        # What came beside it is answered all the same.
        assert [first.values, last.values] == [[[2.0]], [[2.0]]]
    # Nobody waited as long as the model was waited for.
    assert took[-1] < LIMIT_MS / 1000, took[-5:]
    assert hostile.agent.popen.poll() is None
    assert hostile.agent.popen.pid == pid


async def test_a_model_that_leaks_answers_everything(hostile):
    bad = await moody(hostile, MOODS[LEAK])
    for _ in range(25):
        answer = await hostile.scoring.score(bad, BAD)
        assert answer.values == [[2 * Moody.MOOD]]


async def test_a_model_that_hangs_is_in_quarantine_and_says_so_at_once(hostile):
    bad = await moody(hostile, MOODS["sleeps for ever"])
    with pytest.raises(ScoringError, match="no answer within 6 s"):
        await hostile.scoring.score(bad, BAD)
    began = time.monotonic()
    with pytest.raises(ScoringError, match="in quarantine on this instance"):
        await hostile.scoring.score(bad, GOOD)
    assert time.monotonic() - began < LIMIT_MS / 1000


async def test_a_revision_that_never_comes_holds_nobody_up(hostile):
    _, good, _ = await hostile.deployed("binary")
    never = asyncio.gather(
        *(
            hostile.scoring.ask(ScoreRequest(good, GOOD, min_revision=99 + number % 7))
            for number in range(200)
        ),
        return_exceptions=True,
    )
    took = await bystanders(hostile, good, never)
    assert {error.reason for error in await never} == {"revision_timeout"}
    assert took[len(took) // 2] < LIMIT_MS / 2000, took


async def test_what_a_dead_agent_owed_is_answered_by_its_successor(
    start, bootstrap_servers, tmp_path
):
    """Others behind it were answered and committed: they get no second answer."""
    from dataclasses import replace

    from client import BatonClient

    settings = replace(new_settings(bootstrap_servers, tmp_path), data_partitions=1)
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    start("worker", settings).ready()
    first = start("scoring", settings, BATON_PREDICT_TIME_LIMIT_MS="60000").ready()
    async with (
        BatonClient(settings, timeout_s=DEADLINE_S) as baton,
        ScoringClient(settings, timeout_s=DEADLINE_S) as scoring,
    ):
        stack = Stack(settings, tmp_path, baton, scoring)
        _, good, _ = await stack.deployed("binary")
        slow = await moody(stack, until_there(tmp_path / "go"))
        await scoring.score(slow, GOOD)
        owed = [asyncio.create_task(scoring.score(slow, BAD)) for _ in range(3)]
        behind = await asyncio.gather(*(scoring.score(good, GOOD) for _ in range(50)))
        assert not any(task.done() for task in owed)

        async def committed():
            return await lag(settings) == 0

        await eventually(committed, "the partition has gone on behind what is owed")
        first.kill()
        (tmp_path / "go").touch()
        start("scoring", settings).ready()
        answers = await asyncio.gather(*owed)
        assert [answer.values for answer in answers] == 3 * [[[2 * Moody.MOOD]]]
        assert max(answer.offset for answer in answers) < max(a.offset for a in behind)
    await assert_each_answered_once(settings, 54)


async def lag(settings):
    """How far the committed offset is behind the end of the only requests partition."""
    from aiokafka import TopicPartition

    from transport.connecting import admin_at
    from transport.reading import new_consumer

    where = TopicPartition(settings.topics.requests.name, 0)
    consumer = new_consumer(settings.bootstrap_servers)
    await consumer.start()
    try:
        async with admin_at(settings.bootstrap_servers) as admin:
            found = await admin.list_consumer_group_offsets(f"{settings.app}-scoring")
        end = (await consumer.end_offsets([where]))[where]
        return end - found[where].offset if where in found else end
    finally:
        await consumer.stop()
