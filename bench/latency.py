"""Latency at 500 requests a second, from sending to the answer: exactly once and at least once."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from artifacts.save import save_model
from artifacts.store import Store
from bench.rig import console, rig, service
from client import BatonClient, ScoringClient
from demo.traffic import Traffic
from transport.settings import Settings

RATE = 500
# Kafka's JVM compiles its hot paths in the first half minute: latency falls to a quarter by it.
WARM_S = 40.0
MEASURED_S = 15.0
FEATURES = 30


def main() -> None:
    """Measure and print."""
    found = {}
    with rig() as (settings, folder):
        for delivery in ("exactly_once", "at_least_once"):
            own = replace(settings, topic_prefix=f"{delivery}.", app=delivery)
            with (
                service("worker", own, folder),
                _delivery(delivery),
                service("scoring", own, folder),
            ):
                found[delivery] = asyncio.run(measure(own))
    table = Table(title=f"Latency at {RATE}/s", title_justify="left", box=None)
    for heading in ("", "requests", "p50 ms", "p99 ms", "p50 / at least once"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, (count, p50, p99) in found.items():
        ratio = p50 / found["at_least_once"][1]
        table.add_row(name, f"{count:,}", f"{p50:.1f}", f"{p99:.1f}", f"{ratio:.2f}")
    console.print(table)


async def measure(settings: Settings) -> tuple[int, float, float]:
    """Return count, p50 and p99 (ms) of a steady stream to one agent, once Kafka is warm."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(100, FEATURES))
    estimator = LogisticRegression().fit(rows, rows[:, 0] > 0)
    manifest = save_model(estimator, rows[:5], store=Store(settings.store), name="bench")
    async with BatonClient(settings) as baton, ScoringClient(settings) as client:
        await baton.create_space("bench")
        asset = await baton.promote_asset("bench", manifest)
        made = await baton.create_deployment("bench", asset.asset_id, "bench")
        fields = [f"x{number}" for number in range(FEATURES)]
        traffic = Traffic(client, made.deployment_id, fields, rows.tolist(), RATE, floor=1)
        traffic.start()
        await asyncio.sleep(WARM_S)
        begin = time.monotonic()
        await asyncio.sleep(MEASURED_S)
        end = time.monotonic()
        await traffic.stop()
    return traffic.latencies_ms(begin, end)


@contextmanager
def _delivery(name: str) -> Iterator[None]:
    os.environ["BATON_DELIVERY"] = name
    try:
        yield
    finally:
        del os.environ["BATON_DELIVERY"]


if __name__ == "__main__":
    main()
