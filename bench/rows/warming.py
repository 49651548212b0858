"""Kafka's JVM compiles its hot paths in its first half minute: all else waits for that."""

import asyncio

from bench import load
from bench.rig import Rig, remove, service
from bench.seed import seeded

RATE = 3000
WARM_S = 35.0
MINUTES = 1.0


def warm(rig: Rig) -> None:
    """Let an agent answer a steady stream for a while."""
    seconds = rig.seconds(WARM_S)
    rig.say(f"warming Kafka up for {seconds:.0f} s")
    settings = rig.fresh("warming")
    payloads = seeded(settings)
    with (
        service("scoring", settings, rig.folder),
        load.running(settings, payloads, [load.Phase(RATE, seconds)]) as running,
    ):
        running.arrivals()
    asyncio.run(remove(settings))
