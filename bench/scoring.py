"""Requests scored a second: 30 features, logistic regression, exactly once, one agent."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import joblib
import orjson
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from artifacts.save import save_model
from artifacts.store import Store
from bench.rig import ends, fill, peer, rate, report, rig, service
from client import BatonClient
from transport.admin import ensure_topics
from transport.settings import Settings
from transport.transactions import Write

REQUESTS = 200_000
# The plain loop is slow: fewer are enough to see how slow.
LOOP_REQUESTS = 4_000


def main() -> None:
    """Measure and print."""
    bunch = load_breast_cancer(as_frame=True)
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(bunch.data, bunch.target)
    rows = []
    with rig() as (settings, folder):
        model = folder / "model.joblib"
        joblib.dump(estimator, model)
        rows.append(
            ("Baton, exactly once", REQUESTS, baton(settings, folder, estimator, bunch.data))
        )
        for name, title, count in (
            ("echo", "echo, no model, at least once", REQUESTS),
            ("loop", "plain loop, at least once", LOOP_REQUESTS),
        ):
            other = replace(settings, topic_prefix=f"{name}.", app=name)
            arguments = [str(model)] if name == "loop" else []
            rows.append(
                (title, count, asyncio.run(compare(other, name, count, bunch.data, arguments)))
            )
    report("Scoring: 30 features, logistic regression, a row a request, 4 partitions", rows)


def baton(settings: Settings, folder: Path, estimator: object, frame: pd.DataFrame) -> float:
    """Return requests a second of one scoring agent that finds all of them waiting."""
    with service("worker", settings, folder):
        deployment = asyncio.run(deploy(settings, estimator, frame))
    source = asyncio.run(ends(settings, settings.topics.responses))
    asyncio.run(fill(settings, requests(settings, frame, REQUESTS, deployment)))
    with service("scoring", settings, folder):
        return asyncio.run(rate(settings, settings.topics.responses, REQUESTS, source))


async def compare(
    settings: Settings, name: str, count: int, frame: pd.DataFrame, arguments: list[str]
) -> float:
    """Return requests a second of a peer that finds all of them waiting."""
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    source = await ends(settings, settings.topics.responses)
    await fill(settings, requests(settings, frame, count, "none"))
    with peer(name, settings, *arguments):
        return await rate(settings, settings.topics.responses, count, source)


def requests(
    settings: Settings, frame: pd.DataFrame, count: int, deployment: str
) -> Iterator[Write]:
    """Yield requests of one row, partition after partition."""
    topic = settings.topics.requests
    fields, values = list(frame.columns), frame.to_numpy().tolist()
    bodies = [orjson.dumps({"input_data": [{"fields": fields, "values": [row]}]}) for row in values]
    named = ("deployment-id", deployment.encode())
    for number in range(count):
        yield Write(
            topic.name,
            number % topic.partitions,
            None,
            bodies[number % len(bodies)],
            [named, ("request-id", f"r{number}".encode())],
        )


async def deploy(settings: Settings, estimator: object, frame: pd.DataFrame) -> str:
    """Deploy ``estimator`` in a space of its own; return the deployment ID."""
    manifest = save_model(estimator, frame.head(5), store=Store(settings.store), name="bench")
    async with BatonClient(settings) as client:
        await client.create_space("bench")
        asset = await client.promote_asset("bench", manifest)
        return (await client.create_deployment("bench", asset.asset_id, "bench")).deployment_id


if __name__ == "__main__":
    main()
