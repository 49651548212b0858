"""Row 11: CPU seconds for a million requests, with one, two and four agents."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import psutil

from bench.payloads import stream
from bench.rig import Rig, answers, appear, remove, service
from bench.seed import seeded
from transport.settings import Settings

INSTANCES = (1, 2, 4)
ROUNDS = 3
REQUESTS = 150_000
# Before those that count: every agent has loaded the model and met every partition.
WARM = 8_000


def measure(rig: Rig) -> dict[str, Any]:
    """Return CPU seconds per million requests by number of agents, in the order of the rounds."""
    found: dict[str, list[float]] = {str(count): [] for count in INSTANCES}
    for number in range(ROUNDS):
        for count in INSTANCES:
            settings = rig.fresh(f"scaling-{count}-{number}")
            seconds = spent(rig, settings, count)
            found[str(count)].append(seconds)
            rig.say(
                f"CPU, round {number + 1} of {ROUNDS}: {count} agents {seconds:.1f} s a million"
            )
    return {"rounds": ROUNDS, "requests": REQUESTS, "seconds": found}


def spent(rig: Rig, settings: Settings, count: int) -> float:
    """Return the CPU seconds per million requests of ``count`` agents and their models."""
    payloads = seeded(settings)
    requests = rig.size(REQUESTS)
    topic = settings.topics.responses
    pids = []
    with contextlib.ExitStack() as stack:
        for number in range(count):
            folder = rig.folder / f"agent-{number}"
            running = stack.enter_context(service("scoring", settings, folder))
            pids.append(running.pids["scoring"])
        asyncio.run(appear(settings, list(stream(settings, payloads, WARM))))
        asyncio.run(answers(settings, topic, WARM))
        before = cpu(pids)
        asyncio.run(appear(settings, list(stream(settings, payloads, requests))))
        found = asyncio.run(answers(settings, topic, WARM + requests))
        after = cpu(pids)
    asyncio.run(remove(settings))
    if len(found.times_ms) != WARM + requests:
        raise ValueError(f"{requests:,} requests had {len(found.times_ms) - WARM:,} answers")
    return (after - before) / requests * 1e6


def cpu(pids: Iterable[int]) -> float:
    """Return the CPU seconds that processes and their children have taken, ended ones included."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        own = process.cpu_times()
        total += own.user + own.system + own.children_user + own.children_system
        for child in process.children(recursive=True):
            times = child.cpu_times()
            total += times.user + times.system
    return total
