"""Those who send bad input, and what they are told."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import joblib
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from artifacts.store import Store
from bench.hostile.inputs import Pairs
from bench.hostile.mailbox import BAD, Mailbox
from client import BatonClient, CommandIdReusedError, CommandRejected, UpdateFailed
from schemas.manifest import Manifest
from schemas.scoring import REQUEST_ID
from schemas.topics import Topic
from transport.settings import Settings

ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Senders:
    """Clients of a running stack. ``packing`` compresses what it sends."""

    settings: Settings
    folder: Path
    baton: BatonClient
    plain: AIOKafkaProducer
    packing: AIOKafkaProducer
    mailbox: Mailbox

    def with_file(self, manifest: Manifest, thing: object) -> Manifest:
        """Return the manifest with another file: ``thing``, by joblib unless it is bytes."""
        path = self.folder / f"{uuid.uuid4().hex}.joblib"
        if isinstance(thing, bytes):
            path.write_bytes(thing)
        else:
            joblib.dump(thing, path)
        stored = Store(self.settings.store).put(path)
        changes = {"uri": stored.uri, "sha256": stored.sha256, "size": stored.size}
        return manifest.model_copy(update=changes)

    async def deploy(self, manifest: Manifest) -> str:
        """Deploy a model in a space of its own; the deployment ID."""
        space = f"s{uuid.uuid4().hex[:8]}"
        await self.baton.create_space(space)
        asset = await self.baton.promote_asset(space, manifest)
        return (await self.baton.create_deployment(space, asset.asset_id, "d")).deployment_id

    async def send(  # noqa: PLR0913, PLR0917 - what, where to, how often
        self,
        topic: Topic,
        headers: Pairs,
        value: bytes | None,
        times: int,
        spread_s: float,
        burst: int = 1,
    ) -> str:
        """Append a bad record ``times`` times over ``spread_s``, ``burst`` at once; what is told.

        By turns on all partitions, without a key.
        """
        names = [f"{BAD}{uuid.uuid4().hex}" for _ in range(times)]
        for first in range(0, times, burst):
            due = time.monotonic() + spread_s / times * burst
            some = enumerate(names[first : first + burst], first)
            await asyncio.gather(*(self._append(topic, headers, value, *pair) for pair in some))
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        return await self.mailbox.tell(names, ANSWER_S)

    async def _append(
        self, topic: Topic, headers: Pairs, value: bytes | None, number: int, name: str
    ) -> None:
        own: dict[str, bytes] = {REQUEST_ID: name.encode()}
        if topic == self.settings.topics.commands:
            own = {"ce_specversion": b"1.0", "ce_source": b"/hostile", "ce_id": name.encode()}
        await self.plain.send_and_wait(
            topic.name,
            value,
            # aiokafka takes no record without either.
            key=b"k" if value is None else None,
            headers=[*(own | dict(headers)).items()],
            partition=number % topic.partitions,
        )

    async def too_large(self, value: bytes) -> str:
        """Append what the broker must not take, plain and compressed; what its sender is told."""
        told = set()
        for producer in (self.plain, self.packing):
            for topic in (self.settings.topics.requests, self.settings.topics.commands):
                try:
                    await producer.send_and_wait(topic.name, value, partition=0)
                except MessageSizeTooLargeError as error:
                    told.add(error.message)
                else:
                    told.add("TAKEN")
        return ", ".join(told)

    async def reuse_id(self, space: str, times: int, spread_s: float) -> str:
        """Send ``times`` commands that differ under one id; what is told to all but the first."""
        told = set()
        command_id = f"{BAD}{uuid.uuid4().hex}"
        for number in range(times):
            body = {"space_id": space, "asset_id": f"no-{number}"}
            try:
                await self.baton.send("delete-asset", body, command_id)
            except CommandRejected as refused:
                told |= {refused.rejection} if number else set()
            except CommandIdReusedError as reused:
                told.add(reused.code)
            await asyncio.sleep(spread_s / times)
        return ", ".join(told)

    async def refused(self, manifest: Manifest) -> str:
        """Deploy what must not be; what its sender is told."""
        try:
            await self.deploy(manifest)
        except UpdateFailed as failed:
            return ", ".join(check.name for check in failed.checks if not check.passed) + " failed"
        except CommandRejected as refused:
            return refused.rejection
        return "DEPLOYED"
