"""Row 10: how soon worker and agent serve over 100,000 deployments, and what they hold of them.

The state's records are written directly (bench.seed): spaces, assets and deployments, as a worker
would have left them after its memory of the commands has passed.
"""

import asyncio
import math
import time
from typing import Any

import psutil

from bench.models import fitted
from bench.rig import Rig, service
from bench.seed import manifest_of, seed
from client.supervisor import SupervisorError
from transport.admin import ensure_topics
from transport.settings import Settings

DEPLOYMENTS = 100_000
SPACES = 100
ASSETS = 10
RUNS = 3
# Slow starts are measured once or twice: the whole run has its bound.
ENOUGH_S = 60.0
MODULES = ("worker", "scoring")
SETTLE_S = 0.5


def measure(rig: Rig) -> dict[str, Any]:
    """Return seconds to ready and resident bytes by service, over a full and an empty state."""
    estimator, frame = fitted("logistic")
    full, empty = rig.fresh("state-full"), rig.fresh("state-empty")
    count = rig.size(DEPLOYMENTS)
    manifest = manifest_of(full, estimator, frame)
    asyncio.run(ensure_topics(empty.bootstrap_servers, empty.topics))
    rig.say(f"state: writing {count:,} deployments")
    asyncio.run(seed(full, manifest, count, assets=ASSETS, spaces=SPACES))
    found: dict[str, dict[str, list[float]]] = {}
    begun = time.monotonic()
    for number in range(RUNS):
        if number and time.monotonic() - begun > ENOUGH_S:
            break
        for module in MODULES:
            for name, settings in (("empty", empty), ("full", full)):
                took, rss = started(rig, module, settings)
                if took == math.inf:
                    rig.say(f"state: the {module} does not start over the {name} one")
                kept = found.setdefault(module, {})
                kept.setdefault(f"{name}_s", []).append(took)
                kept.setdefault(f"{name}_bytes", []).append(rss)
                rig.say(
                    f"state, run {number + 1} of {RUNS}: {module} over the {name} one serves after "
                    f"{took:.1f} s, {rss / 1024**2:,.0f} MiB"
                )
    return {
        "deployments": count,
        "spaces": SPACES,
        "assets": SPACES * ASSETS,
        "manifest_bytes": len(manifest.model_dump_json()),
        "runs": RUNS,
        "services": found,
    }


def started(rig: Rig, module: str, settings: Settings) -> tuple[float, float]:
    """Return seconds from start to ready, and resident bytes with the children's.

    Both are endless where the service ends, or is not ready in time.
    """
    try:
        return _started(rig, module, settings)
    except SupervisorError:
        return math.inf, math.inf


def _started(rig: Rig, module: str, settings: Settings) -> tuple[float, float]:
    begun = time.monotonic()
    with service(module, settings, rig.folder) as running:
        took = time.monotonic() - begun
        # What it read the state with is given back.
        time.sleep(SETTLE_S)
        main = psutil.Process(running.pids[module])
        return took, sum(each.memory_info().rss for each in (main, *main.children(recursive=True)))
