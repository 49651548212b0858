"""What the benchmarks share: a broker, services, full topics, and rates read from the log."""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from client.supervisor import Supervisor, child_environment
from schemas.topics import Topic
from transport.embedded import EmbeddedKafka
from transport.reading import new_consumer, partitions_of
from transport.settings import Settings
from transport.transactions import Write, append

POLL_S = 0.1
TIMEOUT_S = 120.0

console = Console(highlight=False)


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
    module: str, settings: Settings, folder: Path, *, wait: bool = True, **env: str
) -> Iterator[Supervisor]:
    """Run one of Baton's services, with more settings ``env``, until the block ends.

    ``wait`` until it is ready.
    """
    variables = [f"{name}={text}" for name, text in env.items()]
    commands = {module: ["env", *variables, sys.executable, "-m", module]}
    supervisor = Supervisor(settings, folder, console.print, commands)
    try:
        supervisor.start()
        if wait:
            supervisor.wait_until_ready(threading.Event())
        yield supervisor
    finally:
        supervisor.stop()


@contextlib.contextmanager
def peer(name: str, settings: Settings, *arguments: str) -> Iterator[None]:
    """Run a peer (``bench.peers``) until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.peers", name, *arguments], env=child_environment(settings)
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def fill(settings: Settings, writes: Iterable[Write]) -> None:
    """Append ``writes`` in record batches."""
    async with AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, max_batch_size=900_000
    ) as producer:
        await asyncio.gather(*await append(producer, list(writes)))


async def rate(settings: Settings, topic: Topic, count: int, source: Sequence[int]) -> float:
    """Wait for ``count`` records behind the offsets ``source`` and return records a second.

    By the records' own times, from the first to the last: neither a start nor this reader counts.
    """
    consumer = new_consumer(settings.bootstrap_servers)
    await consumer.start()
    times: list[int] = []
    try:
        where = partitions_of(topic)
        consumer.assign(where)
        for partition, offset in zip(where, source, strict=True):
            consumer.seek(partition, offset)
        async with asyncio.timeout(TIMEOUT_S):
            while len(times) < count:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    times.extend(record.timestamp for record in records)
    finally:
        await consumer.stop()
    times.sort()
    return count / max(times[count - 1] - times[0], 1) * 1000


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


def report(title: str, rows: Sequence[tuple[str, int, float]]) -> None:
    """Print name, count, rate and the first row's ratio to each."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for heading in ("", "records", "a second", "Baton / this"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, count, per_second in rows:
        ratio = rows[0][2] / per_second
        table.add_row(name, f"{count:,}", f"{per_second:,.0f}", f"{ratio:.2f}")
    console.print(table)
