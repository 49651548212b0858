"""Workers and agents that stop, die, wake late and come back: nothing is lost, nothing twice."""

import asyncio
import signal
import time
from contextlib import asynccontextmanager

import joblib
import pytest

from client import BatonClient, ScoreRequest, ScoringClient
from tests.checker import (
    assert_each_answered_once,
    assert_gapless,
    assert_log_and_state_agree,
    log_of,
)
from tests.support import (
    DEADLINE_S,
    Stack,
    eventually,
    new_settings,
)
from tests.unit.models import fitted

pytestmark = pytest.mark.broker

# Loads slowly, and then is the model it says it is.
SLOW = "__import__('time').sleep({seconds}) or __import__('joblib').load({path!r})"


class Slow:
    def __init__(self, seconds, path):
        self.code = SLOW.format(seconds=seconds, path=str(path))

    def __reduce__(self):
        return eval, (self.code,)


@pytest.fixture
def fresh(bootstrap_servers, tmp_path):
    return new_settings(bootstrap_servers, tmp_path)


def slow_manifest(stack, seconds):
    estimator, _ = fitted("binary")
    inner = stack.folder / "inner.joblib"
    joblib.dump(estimator, inner)
    return stack.holding(Slow(seconds, inner))


async def test_a_worker_stops_on_sigterm_and_its_successor_goes_on(start, fresh):
    worker = start("worker", fresh).ready()
    async with BatonClient(fresh, source="/test") as baton:
        await baton.create_space("s")
        assert worker.stop() == 0
        # Published while nobody works: applied by the next one.
        waiting = asyncio.create_task(baton.create_space("later"))
        start("worker", fresh).ready()
        assert (await waiting).name == "space-created"
        assert {space.space_id for space in await baton.spaces()} == {"s", "later"}
    log = await log_of(fresh)
    assert [event.name for event in log].count("space-created") == 2
    assert_gapless(log)


@asynccontextmanager
async def deployment_of(settings, folder):
    """A scoring client and the deployment ID of a model that serves."""
    async with (
        BatonClient(settings) as baton,
        ScoringClient(settings, timeout_s=DEADLINE_S) as scoring,
    ):
        _, deployment, _ = await Stack(settings, folder, baton, scoring).deployed("binary")
        yield scoring, deployment


async def test_an_agent_stops_on_sigterm_while_requests_come(start, fresh, tmp_path):
    start("worker", fresh).ready()
    first = start("scoring", fresh).ready()
    async with deployment_of(fresh, tmp_path) as (scoring, deployment):
        load = asyncio.create_task(steady(scoring, deployment, 1500))
        await asyncio.sleep(0)
        until_some = asyncio.create_task(scoring.score(deployment, [[0.0, 0.0, 0.0]]))
        await until_some
        assert await asyncio.to_thread(first.stop) == 0
        start("scoring", fresh).ready()
        assert await load == 1500
    await assert_each_answered_once(fresh, 1501)


async def steady(scoring, deployment, count, per_second=500):
    """Score ``count`` requests at a steady rate; how many were answered."""

    async def requests():
        begun = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + number / per_second - time.monotonic()))
            yield ScoreRequest(deployment, [[float(number), 0.0, 0.0]], request_id=f"r{number}")

    answers = [answer async for answer in scoring.stream(requests())]
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert not refused, refused[0]
    return len(answers)


async def test_two_agents_share_the_requests_and_one_that_dies_is_taken_over(
    start, fresh, tmp_path
):
    start("worker", fresh).ready()
    first = start("scoring", fresh).ready()
    async with deployment_of(fresh, tmp_path) as (scoring, deployment):
        load = asyncio.create_task(steady(scoring, deployment, 6000))
        second = await asyncio.to_thread(start("scoring", fresh).ready)
        # Giving half of its partitions away cost the first neither its life nor a stall.
        assert first.popen.poll() is None, first.tail()
        assert b"partitions=[0]" in second.log.read_bytes() or (
            b"partitions=[1]" in second.log.read_bytes()
        )
        first.kill()
        assert await load == 6000
    await assert_each_answered_once(fresh, 6000)
    assert second.stop() == 0


async def test_a_paused_agent_that_wakes_is_fenced(start, fresh, tmp_path):
    start("worker", fresh).ready()
    first = start("scoring", fresh).ready()
    async with deployment_of(fresh, tmp_path) as (scoring, deployment):
        load = asyncio.create_task(steady(scoring, deployment, 9000))
        second = await asyncio.to_thread(start("scoring", fresh).ready)
        # Longer than the group waits for it: its partition goes to the second.
        first.popen.send_signal(signal.SIGSTOP)
        await asyncio.sleep(13)
        first.popen.send_signal(signal.SIGCONT)
        assert await load == 9000
    await assert_each_answered_once(fresh, 9000)
    assert second.stop() == 0


async def test_at_least_once_is_a_setting(start, fresh, tmp_path):
    start("worker", fresh).ready()
    agent = start("scoring", fresh, BATON_DELIVERY="at_least_once").ready()
    async with deployment_of(fresh, tmp_path) as (scoring, deployment):
        assert await steady(scoring, deployment, 500) == 500
    assert agent.stop() == 0
    # What it has answered it has committed: a successor of the other kind answers nothing twice.
    start("scoring", fresh).ready()
    await assert_each_answered_once(fresh, 500)


async def test_a_worker_killed_in_a_replace_is_continued_as_if_nothing_happened(
    start, fresh, tmp_path
):
    worker = start("worker", fresh).ready()
    start("scoring", fresh).ready()
    async with BatonClient(fresh) as baton, ScoringClient(fresh, timeout_s=DEADLINE_S) as scoring:
        stack = Stack(fresh, tmp_path, baton, scoring)
        space, deployment, (first,) = await stack.deployed("binary")
        asset = (await baton.promote_asset(space, slow_manifest(stack, 2.0))).asset_id
        replacing = asyncio.create_task(baton.replace_asset(space, deployment, asset))

        async def updating():
            return (await baton.deployment(deployment)).status == "updating"

        await eventually(updating, "the replace is under way")
        worker.kill()
        answer = await scoring.score(deployment, [[1.0, 0.0, 0.0]])
        assert (answer.asset_id, answer.revision) == (first, 1)
        start("worker", fresh).ready()
        done = await replacing
        assert (done.name, done.revision) == ("deployment-updated", 2)
        answer = await scoring.score(deployment, [[1.0, 0.0, 0.0]])
        assert (answer.asset_id, answer.revision) == (asset, 2)
    names = [event.name for event in await log_of(fresh) if event.data.deployment_id == deployment]
    assert names == [
        "update-started",
        "deployment-created",
        "update-started",
        "deployment-updated",
    ]


class Producer:
    """Creates spaces, several at once, until it is stopped."""

    def __init__(self, baton, at_once=8):
        self.baton, self.made, self.stopping = baton, [], False
        self.tasks = [asyncio.create_task(self.create(n)) for n in range(at_once)]

    async def create(self, lane):
        for number in range(10**6):
            if self.stopping:
                return
            space = f"s{lane}-{number}"
            await self.baton.create_space(space, command_id=space)
            self.made.append(space)

    async def more(self, count):
        """Wait for so many more, so that what follows happens under load."""
        goal = len(self.made) + count

        async def made():
            return len(self.made) >= goal or any(task.done() for task in self.tasks)

        await eventually(made, f"{count} more spaces")

    async def stop(self):
        self.stopping = True
        await asyncio.gather(*self.tasks)


async def test_two_workers_share_the_spaces_and_one_that_dies_is_taken_over(start, fresh):
    first = start("worker", fresh).ready()
    async with BatonClient(fresh, source="/test", timeout_s=DEADLINE_S) as baton:
        producer = Producer(baton)
        second = await asyncio.to_thread(start("worker", fresh).ready)
        await producer.more(50)
        first.kill()
        await producer.more(50)
        await producer.stop()
    await assert_log_and_state_agree(fresh, producer.made)
    assert second.stop() == 0


async def test_events_and_state_agree_after_any_death(start, fresh):
    async with BatonClient(fresh, source="/test", timeout_s=DEADLINE_S) as baton:
        worker = start("worker", fresh).ready()
        producer = Producer(baton)
        for count in (40, 7):
            await producer.more(count)
            worker.kill()
            worker = await asyncio.to_thread(start("worker", fresh).ready)
        await producer.more(20)
        await producer.stop()
    await assert_log_and_state_agree(fresh, producer.made)


@pytest.mark.parametrize("module", ["worker", "scoring"])
@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("BATON_CONTROL_PARTITIONS", "three", "BATON_CONTROL_PARTITIONS"),
        ("BATON_BOOTSTRAP_SERVERS", "", "BATON_BOOTSTRAP_SERVERS"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_one_line(
    start, fresh, module, variable, value, told
):
    process = start(module, fresh, **{variable: value})
    assert process.popen.wait(DEADLINE_S) == 78
    (line,) = process.tail().strip().splitlines()
    assert told in line


@pytest.mark.parametrize("module", ["worker", "scoring"])
async def test_a_topic_of_another_shape_ends_the_process_with_one_line(start, fresh, module):
    from dataclasses import replace

    from transport.admin import ensure_topics

    await ensure_topics(fresh.bootstrap_servers, fresh.topics)
    process = start(module, replace(fresh, control_partitions=3))
    assert await asyncio.to_thread(process.popen.wait, DEADLINE_S) == 78
    assert "has 2 partitions, the settings say 3" in process.tail()
