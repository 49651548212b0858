"""Row 8: latency around a replace by another model of 50 MB, under a steady load."""

import asyncio
import copy
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from artifacts.save import save_model
from artifacts.store import Store
from bench import load
from bench.figures import percentiles
from bench.models import fitted
from bench.payloads import asking
from bench.rig import Rig, remove, service
from client import BatonClient
from schemas.manifest import Manifest
from transport.settings import Settings

RATE = 500
REPLACES = 5
# Random bytes that the model's file holds and its process loads.
BALLAST_BYTES = 50 * 1000**2
WARM_S = 8.0
EVERY_S = 10.0
# Around a replace: centred between the command and its event.
AROUND_S = 5.0
# The picture's: so many seconds on either side of the first event, in steps.
SHOWN_S = 5.0
STEP_S = 0.1


def measure(rig: Rig) -> dict[str, Any]:
    """Return p99 in steady state and around each replace, errors, stale answers and a timeline."""
    settings = rig.fresh("replacing")
    try:
        with (
            service("worker", settings, rig.folder),
            service("scoring", settings, rig.folder),
        ):
            return asyncio.run(replaced(rig, settings))
    finally:
        asyncio.run(remove(settings))


async def replaced(rig: Rig, settings: Settings) -> dict[str, Any]:
    """Deploy, load, replace again and again, and count."""
    replaces = max(2, round(REPLACES * rig.share))
    _, frame = fitted("logistic")
    rig.say(f"replacing: saving {replaces + 1} models of {BALLAST_BYTES // 1000**2} MB")
    manifests = [padded(settings, number) for number in range(replaces + 1)]
    async with BatonClient(settings) as baton:
        await baton.create_space("bench")
        assets = [(await baton.promote_asset("bench", each)).asset_id for each in manifests]
        made = await baton.create_deployment("bench", assets[0], "bench")
        payloads = asking([made.deployment_id], frame)
        phase = load.Phase(RATE, WARM_S + EVERY_S * replaces + AROUND_S)
        moments = []
        with load.running(settings, payloads, [phase]) as running:
            for number, asset in enumerate(assets[1:]):
                await asyncio.sleep(
                    running.begun + WARM_S + (number + 0.5) * EVERY_S - time.monotonic()
                )
                sent = time.monotonic()
                outcome = await baton.replace_asset("bench", made.deployment_id, asset)
                moments.append((sent, time.monotonic(), outcome.revision))
                rig.say(
                    f"replacing: {number + 1} of {replaces}, in "
                    f"{moments[-1][1] - sent:.1f} s, revision {outcome.revision}"
                )
            arrivals = await asyncio.to_thread(running.arrivals)
    return judged(arrivals, moments)


def padded(settings: Settings, number: int) -> Manifest:
    """Save a model whose file differs from all others and has 50 MB."""
    estimator, frame = fitted("logistic")
    estimator = copy.deepcopy(estimator)
    estimator.ballast_ = np.random.default_rng(number).bytes(BALLAST_BYTES)
    return save_model(estimator, frame.head(5), store=Store(settings.store), name=f"model-{number}")


def judged(
    arrivals: load.Arrivals, moments: Sequence[tuple[float, float, int | None]]
) -> dict[str, Any]:
    """Set the windows around ``moments`` (command, event, revision) against the rest.

    Stale: due after the event was seen, and answered by an older revision.
    """
    due = arrivals.due
    warm = due >= due[0] + WARM_S
    around = np.zeros(len(due), dtype=bool)
    windows = []
    for sent, seen, _ in moments:
        middle = (sent + seen) / 2
        window = (due >= middle - AROUND_S / 2) & (due < middle + AROUND_S / 2)
        windows.append(window)
        around |= window
    steady = percentiles(arrivals.latency_s[warm & ~around])
    floor = np.zeros(len(due), dtype=int)
    replaces = []
    for (sent, seen, revision), window in zip(moments, windows, strict=True):
        figures = percentiles(arrivals.latency_s[window])
        replaces.append({**figures, "ratio": figures["p99"] / steady["p99"], "took_s": seen - sent})
        floor[due > seen] = revision or 0
    answered = ~np.isnan(arrivals.read) & ~arrivals.error
    return {
        "rate": RATE,
        "megabytes": BALLAST_BYTES // 1000**2,
        "steady": steady,
        "replaces": replaces,
        "errors": int(arrivals.error.sum()),
        "lost": int(np.isnan(arrivals.read).sum()),
        "stale": int((answered & (arrivals.revision < floor)).sum()),
        "timeline": timeline(arrivals, *moments[0][:2]),
    }


def timeline(arrivals: load.Arrivals, sent: float, seen: float) -> dict[str, Any]:
    """Return median and maximum (ms) of each step around the event at ``seen``."""
    steps = np.arange(-SHOWN_S, SHOWN_S, STEP_S)
    p50, worst = [], []
    for step in steps:
        mask = (arrivals.due >= seen + step) & (arrivals.due < seen + step + STEP_S)
        latencies = arrivals.latency_s[mask] * 1000
        p50.append(round(float(np.nanmedian(latencies)), 2))
        worst.append(round(float(np.nanmax(latencies)), 2))
    return {
        "at_s": [round(float(step), 2) for step in steps],
        "p50": p50,
        "worst": worst,
        "command_s": round(sent - seen, 2),
    }
