"""Row 9: commands applied a second by one worker, and how soon an event follows its command."""

import asyncio
import time
from typing import Any

import numpy as np

from bench.commands import commands
from bench.figures import percentiles, steady_rate
from bench.rig import Rig, answers, fill, remove, service
from client import BatonClient
from transport.admin import ensure_topics
from transport.settings import Settings

COMMANDS = 20_000
RATE = 50
WARM_S = 2.0
MEASURED_S = 10.0


def measure(rig: Rig) -> dict[str, Any]:
    """Return commands a second, round after round, and latency from command to event (ms)."""
    rates = []
    for number in range(rig.rounds):
        found = applied(rig, rig.fresh(f"commands-{number}"), rig.size(COMMANDS))
        rates.append(found)
        rig.say(f"commands, round {number + 1} of {rig.rounds}: {found:,.0f}/s")
    settings = rig.fresh("commands-latency")
    with service("worker", settings, rig.folder):
        latency = asyncio.run(followed(settings, rig.seconds(MEASURED_S)))
    rig.say(f"commands at {RATE}/s: p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms")
    asyncio.run(remove(settings))
    return {
        "rounds": rig.rounds,
        "commands": COMMANDS,
        "rates": rates,
        "rate": RATE,
        "latency": latency,
    }


def applied(rig: Rig, settings: Settings, count: int) -> float:
    """Return events a second of a worker that finds ``count`` commands waiting."""
    asyncio.run(ensure_topics(settings.bootstrap_servers, settings.topics))
    asyncio.run(fill(settings, commands(settings, count)))
    with service("worker", settings, rig.folder, wait=False):
        found = asyncio.run(answers(settings, settings.topics.events, count))
    asyncio.run(remove(settings))
    if len(found.times_ms) != count:
        raise ValueError(f"{count:,} commands had {len(found.times_ms):,} events")
    return steady_rate(found.times_ms)


async def followed(settings: Settings, seconds: float) -> dict[str, float]:
    """Send ``create-space`` at a steady rate; return count, p50 and p99 (ms) to their events."""
    latencies: list[float] = []
    async with BatonClient(settings) as baton, asyncio.TaskGroup() as group:

        async def one(number: int, due: float) -> None:
            await baton.create_space(f"s{number}")
            latencies.append(time.monotonic() - due)

        begun = time.monotonic()
        for number in range(round((WARM_S + seconds) * RATE)):
            due = begun + number / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(one(number, due))
    return percentiles(np.array(latencies[round(WARM_S * RATE) :]))
