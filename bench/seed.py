"""Deployments: by a few commands, or their records written straight into the state table.

What an agent reads there is the same as after real commands; making a hundred thousand deployments
by commands would verify a model file a hundred thousand times.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

from artifacts.save import save_model
from artifacts.store import Store
from bench.models import fitted
from bench.payloads import Payload, asking
from bench.rig import fill
from client import BatonClient
from schemas.ids import command_key
from schemas.manifest import Manifest
from schemas.records import (
    AssetRecord,
    DeployedAsset,
    DeploymentRecord,
    HistoryEntry,
    Record,
    SpaceRecord,
    Status,
    encode_record,
    record_key,
)
from schemas.topics import partition_for
from transport.admin import ensure_topics
from transport.settings import Settings
from transport.transactions import Write

AT = "2026-01-01T00:00:00.000Z"
SLICE = 10_000


def manifest_of(settings: Settings, estimator: Any, sample: Any) -> Manifest:  # noqa: ANN401
    """Store ``estimator``; its schema is that of ``sample``, and has a few of its rows."""
    return save_model(estimator, sample, store=Store(settings.store), name="bench")


async def seed(
    settings: Settings, manifest: Manifest, deployments: int, *, assets: int = 1, spaces: int = 1
) -> list[str]:
    """Make the topics and deploy ``manifest`` so many times; return the deployments' IDs.

    The deployments share ``assets`` (copies of one manifest) in each of ``spaces``.
    """
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    writes = _writes(settings, manifest, deployments, assets, spaces)
    while part := list(islice(writes, SLICE)):
        await fill(settings, part)
        await asyncio.sleep(0)
    return [deployment_id(number) for number in range(deployments)]


def seeded(
    settings: Settings, deployments: int = 1, *, kind: str = "logistic", assets: int = 1
) -> list[Payload]:
    """Seed deployments of the model ``kind``; return requests of a row each to them in turn."""
    estimator, frame = fitted(kind)
    manifest = manifest_of(settings, estimator, frame)
    return asking(asyncio.run(seed(settings, manifest, deployments, assets=assets)), frame)


async def deploy(settings: Settings, estimator: Any, frame: Any) -> str:  # noqa: ANN401
    """Deploy by commands, through a worker that runs; return the deployment's ID."""
    manifest = manifest_of(settings, estimator, frame)
    async with BatonClient(settings) as client:
        await client.create_space("bench")
        asset = await client.promote_asset("bench", manifest)
        return (await client.create_deployment("bench", asset.asset_id, "bench")).deployment_id


def deployment_id(number: int) -> str:
    """Return the ID of a seeded deployment: a UUID, as a worker would mint it."""
    return command_key("/bench", f"deployment-{number}")


def _writes(
    settings: Settings, manifest: Manifest, deployments: int, assets: int, spaces: int
) -> Iterator[Write]:
    topic = settings.topics.state
    for space in range(spaces):
        name = f"space-{space}"
        home = partition_for(name.encode(), topic.partitions)
        for key, record in _records(manifest, deployments, assets, spaces, space):
            yield Write(topic.name, home, key.encode(), encode_record(record))


def _records(
    manifest: Manifest, deployments: int, assets: int, spaces: int, space: int
) -> Iterator[tuple[str, Record]]:
    name = f"space-{space}"
    yield (
        record_key("space", name),
        SpaceRecord(space_id=name, name=name, created_at=AT, command_id=name),
    )
    for number in range(assets):
        asset = f"asset-{space}-{number}"
        yield (
            record_key("asset", asset),
            AssetRecord(
                space_id=name, asset_id=asset, manifest=manifest, created_at=AT, command_id=asset
            ),
        )
    for number in range(space, deployments, spaces):
        identity = deployment_id(number)
        asset = f"asset-{space}-{number // spaces % assets}"
        yield (
            record_key("deployment", identity),
            DeploymentRecord(
                space_id=name,
                deployment_id=identity,
                name=f"deployment-{number}",
                status=Status.DEPLOYED,
                revision=1,
                asset=DeployedAsset(asset_id=asset, manifest=manifest),
                history=(HistoryEntry(revision=1, asset_id=asset, at=AT, command_id=identity),),
                created_at=AT,
                last_update=AT,
            ),
        )
