"""Kafka's JVM compiles its hot paths in its first half minute: all else waits for that."""

import asyncio

from bench import load
from bench.payloads import batonic
from bench.rig import Rig, remove, service
from bench.rows.throughput import fitted
from bench.seed import manifest_of, seed

RATE = 3000
WARM_S = 35.0
MINUTES = 1.0


def warm(rig: Rig) -> None:
    """Let an agent answer a steady stream for a while."""
    seconds = rig.seconds(WARM_S)
    rig.say(f"warming Kafka up for {seconds:.0f} s")
    settings = rig.fresh("warming")
    estimator, frame = fitted("logistic")
    ids = asyncio.run(seed(settings, manifest_of(settings, estimator, frame), 1))
    payloads = batonic(ids, list(frame.columns), frame.to_numpy().tolist())
    with (
        service("scoring", settings, rig.folder),
        load.running(settings, payloads, [load.Phase(RATE, seconds)]) as running,
    ):
        running.arrivals()
    asyncio.run(remove(settings))
