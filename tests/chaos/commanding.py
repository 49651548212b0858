"""A producer of commands of every kind: good, refused, repeated, misplaced and unreadable."""

import asyncio
import random
import time
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.cloudevents import CloudEvent, encode
from schemas.commands import PREFIX, SUFFIX
from schemas.times import rfc3339
from schemas.topics import partition_for
from tests.chaos.notes import Notebook
from tests.chaos.world import Deployment, World
from transport.settings import Settings

SPACES = 3
GOOD = 3
LANES = 3
PAUSE_S = (0.0, 0.2)
# An outage of the broker lasts half a minute, and then others wait as well.
OUTCOME_S = 60.0
# A deployment is deleted only where enough others are left to be asked.
LIVE = 4
DAY_MS = 24 * 60 * 60 * 1000
SKEWS = (-400 * DAY_MS, -3 * DAY_MS, 30 * DAY_MS, 4000 * DAY_MS)
KINDS = {
    "replace": 32,
    "rollback": 10,
    "same": 6,
    "conflict": 6,
    "stranger": 3,
    "mismatch": 5,
    "corrupt": 3,
    "trial": 8,
    "typo": 3,
    "repeat": 8,
    "misplaced": 8,
    "garbage": 4,
    "clock": 4,
    "delete": 3,
    "create": 4,
}


class Commander:
    """Publishes commands, notes each before and after, and waits for what becomes of it."""

    def __init__(self, settings: Settings, book: Notebook) -> None:
        self._topic = settings.topics.commands
        self._servers = settings.bootstrap_servers
        self._book = book
        # A run of its own after each restart: ids are never used by accident.
        self.source = f"/chaos/{book.client}/{time.monotonic_ns()}"
        self._sent: list[tuple[str, dict[str, Any], str]] = []
        self._number = 0
        self.world = World(settings, book)

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(bootstrap_servers=self._servers, enable_idempotence=True)
        await self._producer.start()
        self._watch = asyncio.create_task(self.world.watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        await asyncio.wait([self._watch])
        await self._producer.stop()

    async def send(
        self,
        name: str,
        data: dict[str, Any],
        *,
        id: str | None = None,
        astray: bool = False,
        skew_ms: int = 0,
    ) -> tuple[str, dict[str, Any]] | None:
        """Publish a command and return its final event's name and data; None where none came."""
        self._number += 1
        command_id = id or f"c{self._number}"
        outcome = self.world.outcome(self.source, command_id)
        if not await self.publish(name, data, command_id, astray=astray, skew_ms=skew_ms):
            return None
        try:
            async with asyncio.timeout(OUTCOME_S):
                event, told = await outcome
        except TimeoutError:
            self._book.note("no-outcome", source=self.source, id=command_id)
            return None
        self._book.note("outcome", source=self.source, id=command_id, event=event)
        return event, told

    async def publish(
        self, name: str, data: dict[str, Any], id: str, *, astray: bool = False, skew_ms: int = 0
    ) -> bool:
        """Publish a command, ``astray`` on another partition than its space's; False if refused."""
        key = data["space_id"].encode()
        home = partition_for(key, self._topic.partitions)
        partition = (home + astray) % self._topic.partitions
        facts = {"source": self.source, "id": id, "partition": partition}
        attributes = {
            "specversion": "1.0",
            "id": id,
            "source": self.source,
            "type": f"{PREFIX}{name}{SUFFIX}",
            "time": rfc3339(time.time_ns() // 1_000_000 + skew_ms),
            "actor": self._book.client,
        }
        headers, value = encode(CloudEvent(attributes, data))
        about = {n: data.get(n) for n in ("deployment_id", "asset_id", "expected_revision")}
        self._book.note("invoke", **facts, home=home, name=name, **about)
        return await self._acknowledged(value, partition, key, headers, skew_ms, facts)

    async def garbage(self, partition: int, value: bytes = b"\x00 no command") -> bool:
        """Publish what cannot be read."""
        facts = {"source": None, "id": None, "partition": partition}
        self._book.note("invoke", **facts, home=partition, name="garbage")
        return await self._acknowledged(value, partition, None, [], 0, facts)

    async def _acknowledged(
        self,
        value: bytes,
        partition: int,
        key: bytes | None,
        headers: Any,
        skew_ms: int,
        facts: Any,
    ) -> bool:
        at = time.time_ns() // 1_000_000 + skew_ms if skew_ms else None
        try:
            sent = await self._producer.send_and_wait(
                self._topic.name, value, key, partition, at, headers
            )
        except KafkaError as error:
            self._book.note("not-published", **facts, error=repr(error))
            return False
        # A batch that the broker had already is acknowledged without its offset.
        self._book.note("published", **facts, offset=sent.offset if sent.offset >= 0 else None)
        return True

    async def settle(self, manifests: dict[str, Any]) -> None:
        """Make spaces, assets and a deployment in each, unless another client was quicker."""
        for number in range(SPACES):
            space = f"s{number}"
            await self.send("create-space", {"space_id": space, "name": space})
            assets = {f"a{number}-{n}": m for n, m in enumerate(manifests["good"])}
            assets |= {f"other{number}": manifests["other"], f"bad{number}": manifests["bad"]}
            await asyncio.gather(
                *(
                    self.send(
                        "promote-asset",
                        {"space_id": space, "asset_id": asset, "manifest": manifest},
                    )
                    for asset, manifest in assets.items()
                )
            )
            await self.create(space, f"a{number}-0")

    async def create(self, space: str, asset: str) -> str | None:
        """Create a deployment; its ID, or None."""
        data = {"space_id": space, "asset_id": asset, "name": f"d{time.monotonic_ns()}"}
        done = await self.send("create-deployment", data)
        return None if done is None else done[1].get("deployment_id")

    async def act(self, rng: random.Random, stop: asyncio.Event) -> None:
        """Do one thing after the other, in a few lanes at once, until ``stop``."""
        await asyncio.gather(*(self._lane(rng, stop) for _ in range(LANES)))

    async def _lane(self, rng: random.Random, stop: asyncio.Event) -> None:
        while not stop.is_set():
            (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
            if self.world.live:
                which = rng.choice(sorted(self.world.live))
                await self._one(kind, self.world.live[which], rng)
            await asyncio.sleep(rng.uniform(*PAUSE_S))

    async def _one(self, kind: str, about: Deployment, rng: random.Random) -> None:
        number = about.space.removeprefix("s")
        others = [a for n in range(GOOD) if (a := f"a{number}-{n}") != about.asset]
        named = {"space_id": about.space, "deployment_id": about.id}
        good = named | {"asset_id": rng.choice(others), "reason": "accuracy"}
        replaces: dict[str, dict[str, Any]] = {
            "replace": good,
            "same": named | {"asset_id": about.asset},
            "conflict": good | {"expected_revision": about.revision + 7},
            "stranger": good | {"space_id": f"nowhere-{rng.random()}"},
            "mismatch": named | {"asset_id": f"other{number}"},
            "corrupt": named | {"asset_id": f"bad{number}"},
            "trial": good | {"dry_run": True},
            "typo": good | {"resaon": "a typo"},
            "misplaced": good,
            "clock": good,
        }
        if kind in replaces:
            skew_ms = rng.choice(SKEWS) if kind == "clock" else 0
            astray = kind == "misplaced"
            await self.send("replace-asset", replaces[kind], astray=astray, skew_ms=skew_ms)
        elif kind == "rollback":
            await self.send("rollback-deployment", named)
        elif kind == "repeat":
            await self._repeat(good, rng)
        elif kind == "garbage":
            await self.garbage(rng.randrange(self._topic.partitions), rng.randbytes(30) + b"\xff")
        elif kind == "create":
            await self.create(about.space, others[0])
        elif len(self.world.live) > LIVE:
            await self.send("delete-deployment", named)

    async def _repeat(self, data: dict[str, Any], rng: random.Random) -> None:
        """The same command twice, the second time with another body every other time."""
        self._number += 1
        command_id, body = f"c{self._number}", dict(data)
        await self.send("replace-asset", data, id=command_id)
        if rng.random() < 0.5:
            body["comment"] = "another body"
        await self.publish("replace-asset", body, command_id, astray=rng.random() < 0.3)
