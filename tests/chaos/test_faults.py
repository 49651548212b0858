"""Faults strike a running installation; then the history checker has the last word.

``make chaos SEED=7 MINUTES=5``. The seed gives what the clients do and the order of the faults, not
their exact moments. Without one a fresh seed is taken, and printed.
"""

import asyncio
import json
import random
import time

import pytest
from aiokafka import TopicPartition

from artifacts.save import save_model
from artifacts.store import Store
from schemas.records import CursorRecord
from tests.chaos.checker import check
from tests.chaos.cluster import Cluster
from tests.chaos.faults import strike
from tests.chaos.log import committed_offsets, read_log
from tests.chaos.notes import read_notes
from tests.chaos.schedule import CLIENTS, SERVICES, schedule
from tests.support import new_settings
from tests.unit.models import cases
from transport.admin import ensure_topics
from transport.embedded import EmbeddedKafka
from transport.reading import new_consumer, partitions_of
from transport.state_view import StateView

pytestmark = [pytest.mark.chaos, pytest.mark.broker]

# An agent that was fenced while the group still counts on it ends itself after a minute.
DRAIN_S = 100.0
POLL_S = 0.3
# What runs before the first fault, so that there is something to strike.
WARM_UP_S = 6.0


def test_every_promise_is_kept_whatever_dies(tmp_path, request):
    seed = request.config.getoption("--seed")
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    minutes = request.config.getoption("--minutes")
    faults = schedule(seed, minutes)
    print(f"\nmake chaos SEED={seed} MINUTES={minutes:g}")
    print("\n".join(f"  {number:2}  {fault}" for number, fault in enumerate(faults, start=1)))
    with EmbeddedKafka(tmp_path / "kafka") as kafka:
        settings = new_settings(kafka.bootstrap_servers, tmp_path)
        asyncio.run(ensure_topics(settings.bootstrap_servers, settings.topics))
        (tmp_path / "world.json").write_text(json.dumps(manifests(settings)))
        cluster = Cluster(settings, tmp_path, kafka, seed)
        try:
            under_faults(cluster, faults)
            end = time.monotonic() + DRAIN_S
            while time.monotonic() < end and not asyncio.run(drained(settings, POLL_S)):
                cluster.watch(POLL_S)
            cluster.stop(*SERVICES)
        finally:
            cluster.kill_all()
        log = asyncio.run(read_log(settings, f"{settings.app}-scoring"))
    verdict = check(list(read_notes(tmp_path.glob("*.notes"))), log)
    print(f"  {cluster.ended_by_themselves} services ended by themselves; notes in {tmp_path}")
    print(verdict, flush=True)
    assert verdict.holds


def under_faults(cluster, faults):
    begun = time.monotonic()
    for name in SERVICES:
        cluster.start(name)
    cluster.mend()
    for name in (*CLIENTS, "offsets-1"):
        cluster.start(name)
    cluster.watch(WARM_UP_S)
    for number, fault in enumerate(faults, start=1):
        print(f"  {number:2}  at {time.monotonic() - begun:5.1f} s {fault.kind} {fault.victim}")
        strike(cluster, fault)
    # Those who ask and command first: the others note what becomes of it.
    cluster.stop(*(name for name in CLIENTS if not name.startswith("audit")))
    cluster.stop("audit-1", "audit-2", "offsets-1")
    print(f"  everything runs and the clients are done at {time.monotonic() - begun:.1f} s")


def manifests(settings):
    """Three models of one kind, one with another schema, and one whose file is not what it says."""
    estimator, sample = cases()["binary"]
    store = Store(settings.store)
    good = [
        save_model(estimator.set_params(C=c), sample, store=store, name=f"good {c}")
        for c in (1.0, 2.0, 3.0)
    ]
    other, rows = cases()["mixed"]
    others = save_model(other, rows, store=store, name="other")
    bad = good[0].model_copy(update={"name": "bad", "sha256": "0" * 64})
    plain = [
        manifest.model_dump(mode="json", exclude_none=True) for manifest in (*good, others, bad)
    ]
    return {"good": plain[:3], "other": plain[3], "bad": plain[4]}


async def drained(settings, patience_s):
    """Wait, at most so long, until requests and commands are worked off; whether they are."""
    servers, topics = settings.bootstrap_servers, settings.topics
    view, probe = StateView(servers, topics.state), new_consumer(servers)
    await view.start()
    await probe.start()
    try:
        end = time.monotonic() + patience_s
        while not (done := await answered(settings, probe) and await applied(topics, view, probe)):
            if time.monotonic() > end:
                break
            await asyncio.sleep(POLL_S)
        return done
    finally:
        await probe.stop()
        await view.stop()


async def answered(settings, probe):
    ends = await probe.end_offsets(partitions_of(settings.topics.requests))
    committed = await committed_offsets(settings, f"{settings.app}-scoring")
    return all(committed.get(where.partition, 0) >= end for where, end in ends.items())


async def applied(topics, view, probe):
    """Nothing is pending, and each cursor stands at the last command."""
    await view.catch_up()
    if any(b'"pending":{' in value or b'"trial":{' in value for _, value in view.items()):
        return False
    ends = await probe.end_offsets(partitions_of(topics.commands))
    for where, end in ends.items():
        cursor = view.cursors.get(where.partition)
        last = -1 if cursor is None else CursorRecord.model_validate_json(cursor).offset
        probe.assign([where])
        probe.seek(TopicPartition(*where), last + 1)
        # Markers of transactions may lie behind the last command.
        while await probe.position(where) < end:
            if any((await probe.getmany(where, timeout_ms=200)).values()):
                return False
    return True
