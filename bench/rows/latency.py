"""Rows 6 and 7: latency at a steady rate, from when a request is due to its answer being read."""

import asyncio
from typing import TYPE_CHECKING, Any

from bench import load, models
from bench.figures import percentiles
from bench.peers import prepare, running
from bench.rig import Rig, remove, service
from bench.rows.throughput import foreign
from bench.seed import seeded
from transport.admin import ensure_topics
from transport.settings import Settings

if TYPE_CHECKING:
    import contextlib

    from bench.payloads import Payload

ROUNDS = 2
RATES = (500, 5_000)
MEASURED_S = 7.0
# A contestant's own warming up, at the higher rate; then its queue empties.
WARM = load.Phase(RATES[-1], 5.0, rest_s=2.0)
DELIVERIES = ("exactly_once", "at_least_once")
PEERS = ("kstreams", "kstreams-10ms")


def measure(rig: Rig) -> dict[str, Any]:
    """Return p50 and p99 (ms) by contestant and rate, in the order of the rounds."""
    cases: dict[str, dict[str, list[dict[str, float]]]] = {}
    errors: dict[str, str] = {}
    for number in range(ROUNDS):
        for name in (*DELIVERIES, *PEERS):
            if name in errors:
                continue
            try:
                found = run(rig, rig.fresh(f"latency-{name}-{number}"), name)
            except Exception as error:
                if name in DELIVERIES:
                    raise
                errors[name] = f"{type(error).__name__}: {error}"[:200]
                rig.say(f"latency, round {number + 1} of {ROUNDS}: {name}: {errors[name]}")
                continue
            for rate, figures in found.items():
                cases.setdefault(name, {}).setdefault(rate, []).append(figures)
            told = "; ".join(
                f"{rate}/s p50 {figures['p50']:.1f} ms, p99 {figures['p99']:.1f} ms"
                for rate, figures in found.items()
            )
            rig.say(f"latency, round {number + 1} of {ROUNDS}: {name}: {told}")
    return {"rounds": ROUNDS, "seconds": MEASURED_S, "cases": cases, "errors": errors}


def run(rig: Rig, settings: Settings, name: str) -> dict[str, dict[str, float]]:
    """Return count, p50, p99 and the sender's own lateness by rate (as text: JSON's keys)."""
    payloads: list[Payload]
    contestant: contextlib.AbstractContextManager[Any]
    if name in DELIVERIES:
        payloads = seeded(settings)
        contestant = service("scoring", settings, rig.folder, BATON_DELIVERY=name)
    else:
        prepare(name)
        model = models.save("logistic", rig.folder)
        asyncio.run(ensure_topics(settings.bootstrap_servers, settings.topics))
        payloads = foreign(name, "logistic")
        contestant = running(name, settings, model, rig.folder)
    measured = [load.Phase(rate, rig.seconds(MEASURED_S), rest_s=1.0) for rate in RATES]
    with contestant, load.running(settings, payloads, [WARM, *measured]) as running_load:
        arrivals = running_load.arrivals()
    asyncio.run(remove(settings))
    if arrivals.error.any():
        raise ValueError(f"{arrivals.error.sum()} requests were answered by errors")
    found = {}
    for number, rate in enumerate(RATES, start=1):
        mask = arrivals.within(number)
        late = percentiles(arrivals.late_s[mask])
        found[str(rate)] = percentiles(arrivals.latency_s[mask]) | {"late_p99": late["p99"]}
    return found
