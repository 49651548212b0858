"""Faults strike a running installation; then the history checker has the last word.

``make chaos SEED=7 MINUTES=5``. The seed gives what the clients do and the order of the faults, not
their exact moments. Without one a fresh seed is taken, and printed. ``DELIVERY=at_least_once``: the
same with agents that may answer again. ``BROKERS=3``: on a Kafka of three brokers.
"""

import asyncio
import json
import random
import time

import pytest

from scoring.settings import EXACTLY_ONCE
from tests.chaos.brokers import Brokers
from tests.chaos.checker import check
from tests.chaos.cluster import Cluster
from tests.chaos.ending import drained
from tests.chaos.faults import strike
from tests.chaos.log import read_log
from tests.chaos.models import manifests
from tests.chaos.notes import read_notes
from tests.chaos.schedule import CLIENTS, SERVICES, schedule
from tests.support import new_settings, until
from transport.admin import ensure_topics

pytestmark = [pytest.mark.chaos, pytest.mark.broker]

# An agent that was fenced while the group still counts on it ends itself after a minute.
DRAIN_S = 100.0
POLL_S = 0.3
# What runs before the first fault, so that there is something to strike.
WARM_UP_S = 3.0


def test_every_promise_is_kept_whatever_dies(tmp_path, request):
    seed = request.config.getoption("--seed")
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    minutes = request.config.getoption("--minutes")
    delivery = request.config.getoption("--delivery")
    once = delivery == EXACTLY_ONCE
    brokers = request.config.getoption("--brokers")
    faults = schedule(seed, minutes, once=once, brokers=brokers)
    print(
        f"\nmake chaos SEED={seed} MINUTES={minutes:g}"
        f"{'' if once else f' DELIVERY={delivery}'}{f' BROKERS={brokers}' if brokers > 1 else ''}"
    )
    print("\n".join(f"  {number:2}  {fault}" for number, fault in enumerate(faults, start=1)))
    with Brokers(tmp_path / "kafka", brokers) as kafka:
        settings = new_settings(kafka.bootstrap_servers, tmp_path)
        asyncio.run(ensure_topics(settings.bootstrap_servers, settings.topics))
        (tmp_path / "world.json").write_text(json.dumps(manifests(settings)))
        cluster = Cluster(settings, tmp_path, kafka, seed, BATON_DELIVERY=delivery)
        try:
            under_faults(cluster, faults)
            end = time.monotonic() + DRAIN_S
            while time.monotonic() < end and not asyncio.run(drained(settings, POLL_S)):
                cluster.watch(POLL_S)
            cluster.stop(*SERVICES)
        finally:
            cluster.kill_all()
        log = asyncio.run(read_log(settings, f"{settings.app}-scoring"))
    verdict = check(list(read_notes(tmp_path.glob("*.notes"))), log, once=once)
    print(f"  {cluster.ended_by_themselves} services ended by themselves; notes in {tmp_path}")
    print(verdict, flush=True)
    assert verdict.holds
    # A run in which nothing happened shows nothing.
    assert min(verdict.counts[what] for what in ("revisions", "rejected", "answers", "errors")) > 0


def answers_seen(cluster):
    notes = read_notes(cluster.folder.glob("requests-*.notes"))
    return {note.client for note in notes if note.what == "answer"} == {"requests-1", "requests-2"}


def under_faults(cluster, faults):
    begun = time.monotonic()
    for name in SERVICES:
        cluster.start(name)
    cluster.mend()
    for name in (*CLIENTS, "offsets-1"):
        cluster.start(name)
    until(lambda: answers_seen(cluster), "the clients are answered", cluster.tails)
    cluster.watch(WARM_UP_S)
    for number, fault in enumerate(faults, start=1):
        print(f"  {number:2}  at {time.monotonic() - begun:5.1f} s {fault.kind} {fault.victim}")
        strike(cluster, fault)
    # Those who ask and command first: the others note what becomes of it.
    cluster.stop(*(name for name in CLIENTS if not name.startswith("audit")))
    cluster.stop("audit-1", "audit-2", "offsets-1")
    print(f"  everything runs and the clients are done at {time.monotonic() - begun:.1f} s")
