"""What bad input costs everybody else: latency of bystanders while others send it.

A steady client scores against a good deployment on every partition. For each kind of bad input,
its latency with that input is set against its latency just before; and the sender's answer is told.
"""

import asyncio
import contextlib
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from aiokafka import AIOKafkaProducer
from rich.table import Table
from sklearn.linear_model import LinearRegression, LogisticRegression

from artifacts.save import save_model
from artifacts.store import Store
from bench.inputs import MANY_ROWS, Pairs, commands, requests
from bench.moods import AT_LOAD, MOODS, Moody, Spiteful
from bench.rig import console, rig, service
from client import BatonClient, CommandRejected, ScoringClient, ScoringError, UpdateFailed
from demo.traffic import Traffic
from schemas.scoring import DEPLOYMENT_ID, REQUEST_ID
from schemas.topics import Topic
from transport.reading import new_consumer, partitions_of
from transport.settings import Settings

RATE = 300
WARM_S = 20.0
WINDOW_S = 3.0
# Bad requests of a kind in a window; of those that end or hang a model's process, fewer.
TIMES = 40
FEW = 6
GOOD_ROW = [1.0, 0.0, 0.0]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind: what its senders got, and the bystanders' latency against just before."""

    name: str
    answers: str
    p50: float
    p99: float
    p50_ratio: float
    p99_ratio: float


class Mailbox:
    """What comes to those who send bad input: answers, events and dead letters, by id."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.told: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Mailbox"]:
        """Follow the topics within the block."""
        consumer = new_consumer(self._settings.bootstrap_servers)
        await consumer.start()
        topics = self._settings.topics
        where = [
            part
            for topic in (topics.responses, topics.events, topics.dead_letters)
            for part in partitions_of(topic)
        ]
        consumer.assign(where)
        await consumer.seek_to_end(*where)
        task = asyncio.create_task(self._follow(consumer))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            await consumer.stop()

    async def _follow(self, consumer: Any) -> None:  # noqa: ANN401 - aiokafka's consumer
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    headers = {
                        name: (raw or b"").decode(errors="replace") for name, raw in record.headers
                    }
                    name = (
                        headers.get("ce_causationid")
                        or headers.get("ce_id")
                        or headers.get(REQUEST_ID)
                    )
                    if name is None or not name.startswith("bad-"):
                        continue
                    self.told[name] = self._said(record, headers)

    def _said(self, record: Any, headers: dict[str, str]) -> str:  # noqa: ANN401 - same
        if record.topic == self._settings.topics.dead_letters.name:
            return "dead letter"
        body = json.loads(record.value)
        if record.topic == self._settings.topics.events.name:
            return str(body.get("code") or headers["ce_type"].split(".")[2])
        return str(body["error"]["code"]) if "error" in body else "an answer"

    async def tell(self, names: Sequence[str], timeout_s: float) -> str:
        """Wait for what was said to ``names``; in words, with counts."""
        deadline = time.monotonic() + timeout_s
        while not all(name in self.told for name in names):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        counted = Counter(self.told.get(name, "NOTHING") for name in names)
        if len(counted) == 1:
            return next(iter(counted))
        return ", ".join(f"{count} {said}" for said, count in counted.most_common())


@dataclass(slots=True)
class Rig:
    """Clients of a running stack, and the bystanders' traffic."""

    settings: Settings
    folder: Path
    baton: BatonClient
    producer: AIOKafkaProducer
    mailbox: Mailbox
    traffic: Traffic
    rows: list[Row] = field(default_factory=list)

    async def deploy(self, thing: object = None) -> str:
        """Deploy a good model, or the file of ``thing`` under a good model's manifest."""
        random = np.random.default_rng(0).normal(size=(50, 3))
        good = LogisticRegression() if thing is None else LinearRegression()
        estimator = good.fit(random, random[:, 0] > 0)
        store = Store(self.settings.store)
        manifest = save_model(estimator, random[:5], store=store, name="bench")
        if thing is not None:
            path = self.folder / f"{uuid.uuid4().hex}.joblib"
            joblib.dump(thing, path)
            stored = store.put(path)
            changes = {"uri": stored.uri, "sha256": stored.sha256, "size": stored.size}
            manifest = manifest.model_copy(update=changes)
        space = f"s{uuid.uuid4().hex[:8]}"
        await self.baton.create_space(space)
        asset = await self.baton.promote_asset(space, manifest)
        return (await self.baton.create_deployment(space, asset.asset_id, "d")).deployment_id

    async def send(self, topic: Topic, headers: Pairs, value: bytes | None, number: int) -> None:
        """Append one record to a partition of ``topic``."""
        await self.producer.send_and_wait(
            topic.name, value, key=b"k", headers=headers, partition=number % topic.partitions
        )

    async def measure(self, name: str, harm: Any, timeout_s: float = 30.0) -> None:  # noqa: ANN401
        """Run ``harm`` (a coroutine that returns ids, or text) and note the bystanders' latency."""
        begun = time.monotonic()
        await asyncio.sleep(WINDOW_S)
        middle = time.monotonic()
        done = await harm
        await asyncio.sleep(max(0.0, middle + WINDOW_S - time.monotonic()))
        end = time.monotonic()
        said = done if isinstance(done, str) else await self.mailbox.tell(done, timeout_s)
        # Those of the bystanders' requests under way are answered too.
        await self.traffic.until_answered(RATE)
        _, p50_before, p99_before = self.traffic.latencies_ms(begun, middle)
        _, p50, p99 = self.traffic.latencies_ms(middle, end)
        self.rows.append(Row(name, said, p50, p99, p50 / p50_before, p99 / p99_before))
        console.print(
            f"  {name}: {said}; p50 {p50:.0f} ms ({p50 / p50_before:.1f}x), "
            f"p99 {p99:.0f} ms ({p99 / p99_before:.1f}x)",
            style="dim",
        )

    async def harm(
        self, topic: Topic, headers: Pairs, value: bytes | None, times: int = TIMES
    ) -> list[str]:
        """Send one kind of bad record ``times`` times over the window; the ids."""
        names = [f"bad-{uuid.uuid4().hex}" for _ in range(times)]
        for number, name in enumerate(names):
            given = dict(headers)
            own = {REQUEST_ID: name} if topic == self.settings.topics.requests else {"ce_id": name}
            if "ce_type" in given:
                own |= {"ce_specversion": "1.0", "ce_source": "/hostile"}
            pairs = [*given.items(), *((key, text.encode()) for key, text in own.items())]
            await self.send(topic, pairs, value, number)
            await asyncio.sleep(WINDOW_S / times / 2)
        return names


async def run(settings: Settings, folder: Path) -> list[Row]:
    """Measure every kind."""
    async with (
        BatonClient(settings, timeout_s=60.0) as baton,
        ScoringClient(settings, timeout_s=60.0) as scoring,
        AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap_servers, max_request_size=2 * 1024**2
        ) as producer,
        Mailbox(settings).open() as mailbox,
    ):
        fields = ["x0", "x1", "x2"]
        traffic = Traffic(scoring, "", fields, [GOOD_ROW], RATE, floor=1)
        bench = Rig(settings, folder, baton, producer, mailbox, traffic)
        good = traffic.deployment_id = await bench.deploy()
        traffic.start()
        console.print(f"warming up for {WARM_S:.0f} s", style="dim")
        await asyncio.sleep(WARM_S)
        await bench.measure("(nothing)", asyncio.sleep(0, "-"))
        requests_topic, commands_topic = settings.topics.requests, settings.topics.commands
        for name, (headers, value) in requests(good).items():
            # An answer to 100,000 rows has 5 MB, and every client reads it.
            times = FEW if name == MANY_ROWS else TIMES
            await bench.measure(
                f"request: {name}", bench.harm(requests_topic, headers, value, times)
            )
        await baton.create_space("hostile")
        for name, (headers, value) in commands("hostile").items():
            await bench.measure(f"command: {name}", bench.harm(commands_topic, headers, value))
        for name, mood in MOODS.items():
            bad = await bench.deploy(Moody(mood))
            body = f'{{"input_data":[{{"values":[[{Moody.MOOD},0,0]]}}]}}'.encode()
            named = [(DEPLOYMENT_ID, bad.encode())]
            await bench.measure(f"predict {name}", bench.harm(requests_topic, named, body, FEW))
        for name, code in AT_LOAD.items():
            await bench.measure(f"load {name}", _refused(bench, code))
        await traffic.stop()
        lost = [sent for sent in traffic.ledger.values() if sent.error is not None]
        if lost:
            raise SystemExit(f"{len(lost)} of the bystanders' requests got an error: {lost[0]}")
        return bench.rows


async def _refused(bench: Rig, code: str) -> str:
    try:
        await bench.deploy(Spiteful(code))
    except UpdateFailed as failed:
        return ", ".join(check.name for check in failed.checks if not check.passed) + " failed"
    except (CommandRejected, ScoringError) as refused:
        return str(refused)
    return "DEPLOYED"


def main() -> None:
    """Measure and print."""
    with (
        rig() as (settings, folder),
        service("worker", settings, folder, BATON_VERIFY_TIME_LIMIT_S="3"),
        service("scoring", settings, folder, BATON_PREDICT_TIME_LIMIT_MS="3000"),
    ):
        rows = asyncio.run(run(settings, folder))
    table = Table(
        title=f"Bystanders at {RATE}/s while others send bad input", title_justify="left", box=None
    )
    for heading in ("bad input", "what its sender gets", "p50 ms", "p99 ms", "p50 x", "p99 x"):
        table.add_column(heading, justify="left" if heading[0] != "p" else "right")
    for row in rows:
        table.add_row(
            row.name,
            row.answers,
            f"{row.p50:.1f}",
            f"{row.p99:.1f}",
            f"{row.p50_ratio:.2f}",
            f"{row.p99_ratio:.2f}",
        )
    console.print(table)
    if any("NOTHING" in row.answers or "DEPLOYED" in row.answers for row in rows):
        sys.exit("something was not answered, or deployed that should not be")


if __name__ == "__main__":
    main()
