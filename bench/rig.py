"""What the benchmarks share: a broker, services, full topics, and rates read from the log."""

import asyncio
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rich.console import Console

from client.supervisor import Supervisor
from schemas.scoring import STATUS
from schemas.topics import Topic
from transport.connecting import admin_at
from transport.embedded import EmbeddedKafka
from transport.reading import new_consumer, partitions_of
from transport.settings import Settings
from transport.transactions import Write, append

POLL_S = 0.1
# No answer more for so long: what is missing by then does not come. The first one may take a peer
# longer: it starts, and loads its model.
STALLED_S = 20.0
FIRST_S = 90.0

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Rig:
    """A broker to measure on, a folder for what a run needs, and how much is measured.

    ``share`` of the full size: below 1 it is a try, whose figures mean little.
    """

    settings: Settings
    folder: Path
    rounds: int = 5
    share: float = 1.0
    begun: float = field(default_factory=time.monotonic)

    def fresh(self, name: str) -> Settings:
        """Return settings with topics, group and logs of their own."""
        return replace(self.settings, topic_prefix=f"{name}.", app=name)

    def size(self, full: int) -> int:
        """Return how many of ``full`` records to measure: a multiple of 8."""
        return max(8, int(full * self.share) // 8 * 8)

    def seconds(self, full: float) -> float:
        """Return how long of ``full`` seconds to measure."""
        return max(2.0, full * self.share)

    def say(self, text: str) -> None:
        """Print a line of progress, with the time since the start."""
        passed = int(time.monotonic() - self.begun)
        line = f"  {passed // 60:2d}:{passed % 60:02d}  {text}"
        console.print(line, style="dim", markup=False, soft_wrap=True)


@contextlib.contextmanager
def rig() -> Iterator[tuple[Settings, Path]]:
    """Run an embedded Kafka; its settings and a folder for what the run needs."""
    with (
        tempfile.TemporaryDirectory(prefix="baton-bench-") as name,
        EmbeddedKafka(progress=console.print) as kafka,
    ):
        folder = Path(name)
        yield Settings(kafka.bootstrap_servers, store=(str(folder / "store"),)), folder


@contextlib.contextmanager
def service(
    module: str,
    settings: Settings,
    folder: Path,
    *,
    wait: bool = True,
    tree: Path | None = None,
    **env: str,
) -> Iterator[Supervisor]:
    """Run one of Baton's services, with more settings ``env``, until the block ends.

    ``wait`` until it is ready. ``tree`` is the root of the version that runs, this one by default.
    """
    if tree is not None:
        env["PYTHONPATH"] = str(tree)
    variables = [f"{name}={text}" for name, text in env.items()]
    # What lies in the working directory comes first of all for `-m`.
    where = [] if tree is None else [f"--chdir={tree}"]
    commands = {module: ["env", *where, *variables, sys.executable, "-m", module]}
    supervisor = Supervisor(settings, folder, console.print, commands)
    try:
        supervisor.start()
        if wait:
            supervisor.wait_until_ready(threading.Event())
        yield supervisor
    finally:
        supervisor.stop()


async def fill(settings: Settings, writes: Iterable[Write]) -> None:
    """Append ``writes`` in record batches."""
    async with AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, max_batch_size=900_000
    ) as producer:
        await asyncio.gather(*await append(producer, list(writes)))


async def appear(settings: Settings, writes: Sequence[Write]) -> float:
    """Append ``writes`` in one transaction and return when it was committed (epoch ms).

    Who reads what is committed sees all of them at once, however fast this process appends.
    """
    async with AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        transactional_id=f"{settings.app}-filler",
        max_batch_size=900_000,
    ) as producer:
        await producer.begin_transaction()
        await asyncio.gather(*await append(producer, writes))
        committed = time.time() * 1000
        await producer.commit_transaction()
    return committed


@dataclass(frozen=True, slots=True)
class Answers:
    """What came: the times of the answers by the broker's clock (ms), and those that are errors."""

    times_ms: list[int]
    errors: list[bytes]


async def answers(settings: Settings, topic: Topic, count: int) -> Answers:
    """Wait until ``topic``, which was empty, holds ``count`` committed records, and return them.

    Fewer, where no more come. Looks at the topic's ends while it grows and reads it afterwards:
    reading along would take a share of the machine from who is measured.
    """
    consumer, probe = (new_consumer(settings.bootstrap_servers) for _ in range(2))
    await consumer.start()
    await probe.start()
    times: list[int] = []
    errors: list[bytes] = []
    try:
        where = partitions_of(topic)
        await _grown(probe, where, count)
        consumer.assign(where)
        await consumer.seek_to_beginning(*where)
        changed = time.monotonic()
        while len(times) < count and time.monotonic() < changed + STALLED_S:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                changed = time.monotonic()
                times.extend(record.timestamp for record in records)
                errors += [r.value for r in records if (STATUS, b"error") in r.headers]
    finally:
        await consumer.stop()
        await probe.stop()
    return Answers(times, errors)


async def _grown(probe: AIOKafkaConsumer, where: list[TopicPartition], count: int) -> None:
    """Return once there are about ``count`` records (transactions' markers count too), or no more.

    Raises TimeoutError where not one comes.
    """
    begun = changed = time.monotonic()
    done = 0
    while done < count and (done == 0 or time.monotonic() < changed + STALLED_S):
        await asyncio.sleep(POLL_S)
        now = sum((await probe.end_offsets(where)).values())
        if now > done:
            done, changed = now, time.monotonic()
        if done == 0 and time.monotonic() > begun + FIRST_S:
            raise TimeoutError(f"not one answer came to {where[0].topic} in {FIRST_S:.0f} s")


async def remove(settings: Settings) -> None:
    """Delete all topics: runs of hundreds of megabytes each would fill the disk."""
    async with admin_at(settings.bootstrap_servers) as admin:
        await admin.delete_topics([topic.name for topic in settings.topics.all()])


async def ends(settings: Settings, topic: Topic) -> list[int]:
    """Return the topic's end offsets by partition."""
    consumer = new_consumer(settings.bootstrap_servers)
    await consumer.start()
    try:
        where = partitions_of(topic)
        found = await consumer.end_offsets(where)
        return [found[partition] for partition in where]
    finally:
        await consumer.stop()
