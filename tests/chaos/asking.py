"""A scoring client: requests at a steady rate, right and wrong ones, each answer noted."""

import asyncio
import json
import random
import time
import uuid
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.log import shown
from tests.chaos.marks import mark
from tests.chaos.notes import Notebook
from tests.chaos.world import World, follow
from transport.settings import Settings

TICK_S = 0.02
DAY_MS = 24 * 60 * 60 * 1000
# Younger than the topic's retention: what is older may be removed before anyone reads it.
PAST_MS, FUTURE_MS = -3 * DAY_MS, 400 * DAY_MS
KINDS = {"good": 900, "mismatch": 25, "stranger": 25, "nonsense": 10, "garbage": 15, "past": 20}
KINDS["future"] = KINDS["deleted"] = 5
# Which answers are right; "" is one without an error. A deployment may be deleted at any time.
EXPECT = {
    "mismatch": ["schema_mismatch", "deployment_deleted"],
    "stranger": ["deployment_not_found"],
    "nonsense": ["invalid_request"],
}
USUAL = ["", "deployment_deleted"]


class Asker:
    """Sends requests to what is deployed; notes each when it is sent, stored and answered."""

    def __init__(self, settings: Settings, book: Notebook) -> None:
        self._settings = settings
        self._topic = settings.topics.requests
        self._book = book
        self._run = uuid.uuid4().hex[:6]
        self._number = 0
        self.waiting: dict[str, asyncio.Future[Any]] = {}
        self.world = World(settings, Notebook(book.client))
        self._sending: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        servers = self._settings.bootstrap_servers
        self._producer = AIOKafkaProducer(
            bootstrap_servers=servers, enable_idempotence=True, linger_ms=2
        )
        await self._producer.start()
        self._watch = [asyncio.create_task(work) for work in (self.world.watch(), self._read())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._watch:
            task.cancel()
        await asyncio.wait(self._watch)
        await self._producer.stop()

    async def ask(self, deployment: str, partition: int, kind: str = "good") -> Any:
        """Send a request and return its answer's body; None where the broker refused it."""
        self._number += 1
        request_id = (
            None if kind == "garbage" else f"{self._book.client}-{self._run}-{self._number}"
        )
        named = f"no-{self._number}" if kind == "stranger" else deployment
        answer = self.waiting[request_id or ""] = asyncio.get_running_loop().create_future()
        expect = EXPECT.get(kind, USUAL)
        # Noted before it is sent: what is known by now must be in the answer.
        self._book.note(
            "ask", id=request_id, deployment=named, partition=partition, kind=kind, expect=expect
        )
        if not await self._stored(request_id, named, partition, kind):
            self.waiting.pop(request_id or "", None)
            return None
        return await answer if request_id is not None else None

    async def _stored(self, id: str | None, deployment: str, partition: int, kind: str) -> bool:
        headers = [("deployment-id", deployment.encode())]
        headers += [("request-id", id.encode())] if id is not None else []
        row = ["a", "b"] if kind == "mismatch" else [mark(id or ""), 0.0, 0.0]
        value = json.dumps({"input_data": [{"values": [row]}]}).encode()
        if kind in {"garbage", "nonsense"}:
            value = b"\xff no request"
        skew = {"past": PAST_MS, "future": FUTURE_MS}.get(kind)
        at = None if skew is None else time.time_ns() // 1_000_000 + skew
        if kind != "future":
            return await self._send(self._producer, value, partition, at, headers, id)
        # The broker refuses a whole batch for one such record: it must stand alone.
        servers = self._settings.bootstrap_servers
        async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
            return await self._send(producer, value, partition, at, headers, id)

    async def _send(
        self,
        producer: AIOKafkaProducer,
        value: bytes,
        partition: int,
        at: int | None,
        headers: list[tuple[str, bytes]],
        id: str | None,
    ) -> bool:
        try:
            sent = await producer.send_and_wait(
                self._topic.name, value, partition=partition, timestamp_ms=at, headers=headers
            )
        except KafkaError as error:
            self._book.note("not-asked", id=id, partition=partition, error=repr(error))
            return False
        offset = sent.offset if sent.offset >= 0 else None
        self._book.note("asked", id=id, partition=partition, offset=offset)
        return True

    async def act(self, rng: random.Random, rate: float, stop: asyncio.Event) -> None:
        """Send ``rate`` requests a second to what is deployed until ``stop``."""
        due = time.monotonic()
        while not stop.is_set():
            # A pause of the machine is not made up for: it would be a flood.
            due = max(due + 1 / rate, time.monotonic() - 1.0)
            if due > time.monotonic():
                await asyncio.sleep(max(TICK_S, due - time.monotonic()))
            (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
            among = self.world.gone if kind == "deleted" else sorted(self.world.live)
            if among:
                where = rng.randrange(self._topic.partitions)
                task = asyncio.create_task(self.ask(rng.choice(among), where, kind))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    async def all_answered(self, patience_s: float) -> None:
        """Wait, at most so long, for the answers under way."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=patience_s)

    async def _read(self) -> None:
        async for record in follow(self._settings, self._settings.topics.responses):
            request_id = (dict(record.headers).get("request-id") or b"").decode()
            if (waiting := self.waiting.pop(request_id, None)) is None:
                continue
            body = json.loads(record.value)
            place = body["request"]
            self._book.note(
                "answer",
                id=request_id,
                partition=place["partition"],
                offset=place["offset"],
                deployment=body.get("deployment_id"),
                value=shown(body),
            )
            if not waiting.done():
                waiting.set_result(body)
