"""A soak: requests and replaces without a pause, and a look for what grows.

Fails where anything is lost, answered twice, stale or an error, and where a process leaks. A leak
is what the least-squares line over the second half gains there: resident memory more than LEAK_MIB
(the allocator's own noise stays below it; over the 10 minutes of a 20 minute run it is 27 kB a
replace, or 28 bytes a request), descriptors or threads more than LEAK_HANDLES (pools fill up in
the first half).
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from artifacts.save import save_model
from artifacts.store import Store
from bench.rig import console, rig, service
from bench.sampling import MIB, Sample, Sampler, slope_per_hour
from client import BatonClient, ScoringClient
from demo.traffic import Traffic, answers
from schemas.errors import BatonError
from transport.settings import Settings

RATE = 500
FEATURES = 30
# On a machine that stalls for a while, fewer are sent: a line of 70,000 would be all it measures.
IN_FLIGHT = 1000
REPLACE_S = 2.0
SAMPLE_S = 5.0
SHOW_S = 30.0
# More files than an agent keeps models: each replace loads one anew and another goes.
RING = 40
CACHE_MODELS = 8
# What a file holds besides its model, so that a kept one shows.
BALLAST_BYTES = 256 * 1024
LEAK_MIB = 8.0
LEAK_HANDLES = 3.0


class Run:
    """What a soak has seen so far."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.replaced = 0
        self.failed: list[str] = []


def main() -> None:
    """Run, print, and exit with 1 where something leaks or went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(".baton/soak"), help="for samples")
    given = parser.parse_args()
    with rig() as (settings, folder), _small_caches(), contextlib.ExitStack() as stack:
        names = {"worker": "worker"}
        names |= {f"agent-{number + 1}": "scoring" for number in range(given.agents)}
        pids = {}
        for name, module in names.items():
            running = stack.enter_context(service(module, settings, folder / name))
            pids[name] = running.pids[module]
        samples = given.out / f"samples-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
        sampler = Sampler(pids, SAMPLE_S, samples)
        run = asyncio.run(soak(settings, sampler, given.minutes * 60))
        counted = asyncio.run(answers(settings))
    leaks = show(sampler)
    wrong = verdict(run, counted)
    for line in (*leaks, *wrong, *(f"{name} died" for name in sorted(sampler.died))):
        console.print(f"✗ {line}")
    console.print(f"samples: {samples}")
    sys.exit(bool(leaks or wrong or sampler.died))


async def soak(settings: Settings, sampler: Sampler, seconds: float) -> Run:
    """Send and replace for ``seconds``; then wait for the answers under way."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(100, FEATURES))
    fields = [f"x{number}" for number in range(FEATURES)]
    async with BatonClient(settings) as baton, ScoringClient(settings) as client:
        assets = await _ring(settings, baton, rows)
        made = await baton.create_deployment("soak", assets[0], "soak")
        traffic = Traffic(
            client,
            made.deployment_id,
            fields,
            rows.tolist(),
            RATE,
            floor=1,
            max_in_flight=IN_FLIGHT,
        )
        run = Run(traffic)
        traffic.start()
        with sampler:
            end, shown = time.monotonic() + seconds, time.monotonic()
            for asset in itertools.islice(itertools.cycle(assets), 1, None):
                due = time.monotonic() + REPLACE_S
                if due > end or sampler.died:
                    break
                await _replace(baton, run, asset)
                if time.monotonic() > shown + SHOW_S:
                    shown = time.monotonic()
                    _progress(sampler, run, end - shown)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        await traffic.stop()
    return run


async def _ring(settings: Settings, baton: BatonClient, rows: "np.ndarray") -> list[str]:
    """Promote models whose files all differ."""
    store = Store(settings.store)
    await baton.create_space("soak")
    made = []
    for number in range(RING):
        estimator = LogisticRegression(C=1 + number / 10).fit(rows, rows[:, 0] > 0)
        estimator.ballast_ = np.random.default_rng(number).bytes(BALLAST_BYTES)
        manifest = save_model(estimator, rows[:5], store=store, name=f"model-{number}")
        made.append((await baton.promote_asset("soak", manifest)).asset_id)
    return made


async def _replace(baton: BatonClient, run: Run, asset: str) -> None:
    try:
        outcome = await baton.replace_asset("soak", run.traffic.deployment_id, asset)
    except (BatonError, TimeoutError) as error:
        run.failed.append(str(error))
        return
    run.traffic.floor = outcome.revision
    run.replaced += 1


def _progress(sampler: Sampler, run: Run, left_s: float) -> None:
    traffic = run.traffic
    sizes = ", ".join(f"{row} {kept[-1].rss // MIB}" for row, kept in sampler.samples.items())
    console.print(
        f"  {left_s / 60:4.1f} min left: {traffic.answered:,} of {len(traffic.ledger):,} answered, "
        f"{run.replaced} replaces; MiB: {sizes}"
    )


def show(sampler: Sampler) -> list[str]:
    """Print what each process took; return what leaks."""
    table = Table(title="What the processes take", title_justify="left", box=None)
    for heading in ("", "", "start", "mid", "end", "an hour", "gained in the 2nd half"):
        table.add_column(heading, justify="left" if not heading else "right")
    leaks = []
    units = (("rss", "MiB", MIB, LEAK_MIB), ("fds", "descriptors", 1, LEAK_HANDLES),
             ("threads", "threads", 1, LEAK_HANDLES))  # fmt: skip
    for row, samples in sampler.samples.items():
        half = samples[len(samples) // 2 :]
        for what, name, unit, limit in units:
            start, mid, end = (_at(part, what) / unit for part in (samples[:1], half, samples[-1:]))
            slope = slope_per_hour(half, what) / unit
            gained = slope * (half[-1].at_s - half[0].at_s) / 3600
            cells = (f"{value:,.1f}" for value in (start, mid, end, slope, gained))
            table.add_row(row, name, *cells)
            if gained > limit:
                leaks.append(f"{row}: {name} rise by {gained:.1f}, at most {limit:g} are noise")
    console.print(table)
    return leaks


def _at(samples: list[Sample], what: str) -> float:
    return float(getattr(samples[0], what))


def verdict(run: Run, counted: "dict[str, int]") -> list[str]:
    """Print the counts; return what went wrong."""
    traffic = run.traffic
    errors = [sent.error for sent in traffic.ledger.values() if sent.error is not None]
    counts = {
        "lost": sum(name not in counted for name in traffic.ledger),
        "twice": sum(times > 1 for times in counted.values()),
        "stale": traffic.stale(),
        "errors": len(errors),
        "replaces failed": len(run.failed),
    }
    console.print(
        f"sent {len(traffic.ledger):,}, answered {traffic.answered:,}, replaces {run.replaced:,}, "
        + ", ".join(f"{name} {count:,}" for name, count in counts.items())
    )
    told = [f"e.g. {text}" for text in (*errors[:1], *run.failed[:1])]
    return [f"{count:,} {name}" for name, count in counts.items() if count] + told


@contextlib.contextmanager
def _small_caches() -> Iterator[None]:
    os.environ["BATON_CACHE_MODELS"] = str(CACHE_MODELS)
    try:
        yield
    finally:
        del os.environ["BATON_CACHE_MODELS"]


if __name__ == "__main__":
    main()
