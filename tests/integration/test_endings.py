"""Processes that are told to stop, or that another has replaced: they end, and soon."""

import asyncio
import signal
import time

import pytest

from bench.commands import commands
from bench.rig import ends, fill
from client import BatonClient, ScoringClient
from tests.checker import assert_gapless, log_of
from tests.support import DEADLINE_S, Stack, eventually, new_settings, until_there
from transport.admin import ensure_topics
from transport.embedded import EmbeddedKafka
from transport.transactions import FencedProducer

pytestmark = pytest.mark.broker

# What the manuals tell supervisors to wait (stop_grace_period).
STOPPED_S = 20.0
# One that is told to stop before it listens, while it loads its libraries.
UNBEGUN = -signal.SIGTERM


@pytest.fixture
def fresh(bootstrap_servers, tmp_path):
    return new_settings(bootstrap_servers, tmp_path)


async def stopped(process, number=signal.SIGTERM):
    """Its exit status, within the time that supervisors give."""
    process.popen.send_signal(number)
    return await asyncio.to_thread(process.popen.wait, STOPPED_S)


async def test_a_worker_stops_in_the_middle_of_a_verification(start, fresh, tmp_path):
    worker = await asyncio.to_thread(start("worker", fresh).ready)
    async with BatonClient(fresh) as baton, ScoringClient(fresh) as scoring:
        stack = Stack(fresh, tmp_path, baton, scoring)
        space, deployment, _ = await stack.deployed("binary")
        slow = stack.running(until_there(tmp_path / "never"))
        asset = (await baton.promote_asset(space, slow)).asset_id
        replacing = asyncio.create_task(baton.replace_asset(space, deployment, asset))

        async def updating():
            return (await baton.deployment(deployment)).status == "updating"

        await eventually(updating, "the replace is under way")
        assert await stopped(worker) == 0, worker.tail()
        replacing.cancel()
        # Its successor takes it up.
        assert (await baton.deployment(deployment)).pending is not None


async def test_a_worker_stops_in_the_middle_of_a_backlog_and_its_successor_ends_it(start, fresh):
    count = 20_000
    await ensure_topics(fresh.bootstrap_servers, fresh.topics)
    await fill(fresh, commands(fresh, count))
    events = fresh.topics.events

    async def applied(many):
        async def some():
            return sum(await ends(fresh, events)) > many

        await eventually(some, f"{many} commands are applied")

    worker = start("worker", fresh)
    await applied(1000)
    assert await stopped(worker) == 0, worker.tail()
    done = len(await log_of(fresh))
    assert 1000 < done < count
    start("worker", fresh)
    # Each part has a deadline of its own: a slow machine needs longer for all.
    for many in (*range(done, count, 4000), count):
        await applied(many)

    async def all_of_them():
        return len(await log_of(fresh)) == count

    await eventually(all_of_them, "the backlog is worked off")
    log = await log_of(fresh)
    assert_gapless(log)
    assert {event.command_id for event in log} == {f"c{number}" for number in range(count)}


@pytest.fixture
def own_kafka(tmp_path):
    kafka = EmbeddedKafka(tmp_path / "kafka")
    kafka.start()
    yield kafka
    kafka.stop()


async def test_processes_stop_while_the_broker_is_away(start, own_kafka, tmp_path):
    settings = new_settings(own_kafka.bootstrap_servers, tmp_path)
    services = [start("worker", settings), start("scoring", settings)]
    for service in services:
        await asyncio.to_thread(service.ready)
    await asyncio.to_thread(own_kafka.stop)
    # They have lost it, and look for it.
    await asyncio.sleep(3)
    # Two that have not found it yet.
    services += [start("worker", settings), start("scoring", settings)]
    await asyncio.sleep(3)
    begun = time.monotonic()
    for service in services:
        service.popen.terminate()
    statuses = [await asyncio.to_thread(service.popen.wait, STOPPED_S) for service in services]
    assert time.monotonic() - begun < STOPPED_S
    told = [service.log.read_text() for service in services]
    assert set(statuses[:2]) <= {0, 70}, (statuses, told)
    assert set(statuses[2:]) <= {0, UNBEGUN}, (statuses, told)


def impostor(settings, partition):
    identity = f"{settings.app}-{settings.topics.commands.name}-{partition}"
    return FencedProducer(settings.bootstrap_servers, identity)


async def fence(settings):
    for partition in range(settings.control_partitions):
        producer = impostor(settings, partition)
        await producer.start()
        await producer.stop()


async def test_a_worker_that_was_fenced_ends_and_its_successor_goes_on(start, fresh):
    worker = await asyncio.to_thread(start("worker", fresh).ready)
    async with BatonClient(fresh, timeout_s=DEADLINE_S) as baton:
        await baton.create_space("before")
        await fence(fresh)
        waiting = asyncio.create_task(baton.create_space("after"))
        assert await asyncio.to_thread(worker.popen.wait, DEADLINE_S) == 70, worker.tail()
        assert "ProducerFenced" in worker.tail()
        start("worker", fresh)
        assert (await waiting).name == "space-created"
    log = await log_of(fresh)
    assert_gapless(log)
    assert sorted(event.data.space_id for event in log) == ["after", "before"]


async def test_a_worker_that_was_fenced_in_a_verification_ends_and_its_successor_goes_on(
    start, fresh, tmp_path
):
    worker = await asyncio.to_thread(start("worker", fresh).ready)
    async with (
        BatonClient(fresh, timeout_s=DEADLINE_S) as baton,
        ScoringClient(fresh) as scoring,
    ):
        stack = Stack(fresh, tmp_path, baton, scoring)
        space, deployment, _ = await stack.deployed("binary")
        slow = stack.running(until_there(tmp_path / "go"))
        asset = (await baton.promote_asset(space, slow)).asset_id
        replacing = asyncio.create_task(baton.replace_asset(space, deployment, asset))

        async def updating():
            return (await baton.deployment(deployment)).status == "updating"

        await eventually(updating, "the replace is under way")
        await fence(fresh)
        (tmp_path / "go").touch()
        # Nobody sends anything: it finds out when it would write how the verification ended.
        assert await asyncio.to_thread(worker.popen.wait, DEADLINE_S) == 70, worker.tail()
        start("worker", fresh)
        with pytest.raises(Exception, match="failed its verification"):
            await replacing
    names = [e.name for e in await log_of(fresh) if e.data.deployment_id == deployment]
    assert names[-2:] == ["update-started", "update-failed"]


async def test_a_worker_that_was_fenced_and_has_nothing_to_write_stops_when_told(start, fresh):
    worker = await asyncio.to_thread(start("worker", fresh).ready)
    await fence(fresh)
    assert await stopped(worker) == 0, worker.tail()


@pytest.mark.parametrize("module", ["worker", "scoring", "console"])
async def test_a_process_that_still_looks_for_its_broker_stops_when_told(start, fresh, module):
    from dataclasses import replace

    nowhere = replace(fresh, bootstrap_servers="127.0.0.1:1")
    process = start(module, nowhere, BATON_CONSOLE_PORT="0")
    await asyncio.sleep(3)
    assert await stopped(process) in {0, UNBEGUN}
