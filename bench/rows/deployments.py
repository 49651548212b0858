"""Row 4: one stream to 1,000 deployments against one stream to one."""

from typing import Any

from bench.rig import Rig
from bench.rows.throughput import served
from bench.seed import seeded

REQUESTS = 80_000
DEPLOYMENTS = (1, 10, 100, 1000)
# Of what lies between: it is in the picture alone.
BETWEEN_ROUNDS = 2
# Of all the deployments: each is a process of its own, and an agent keeps 64.
ASSETS = 10


def measure(rig: Rig) -> dict[str, Any]:
    """Return the agent's rates (a second) by number of deployments, in the order of the rounds."""
    rates: dict[str, list[float]] = {str(count): [] for count in DEPLOYMENTS}
    for number in range(rig.rounds):
        for count in DEPLOYMENTS:
            if number >= BETWEEN_ROUNDS and count not in {DEPLOYMENTS[0], DEPLOYMENTS[-1]}:
                continue
            settings = rig.fresh(f"deployments-{count}-{number}")
            payloads = seeded(settings, count, assets=min(ASSETS, count))
            found = served(rig, settings, payloads, rig.size(REQUESTS))
            rates[str(count)].append(found)
            rig.say(
                f"deployments, round {number + 1} of {rig.rounds}: {count:,} mixed {found:,.0f}/s"
            )
    return {"rounds": rig.rounds, "requests": REQUESTS, "assets": ASSETS, "rates": rates}
