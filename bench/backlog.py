"""A backlog worked off: how fast, in how much memory, and whether anything was lost.

Millions of requests wait before the agent starts, hundreds of thousands of commands before the
worker does, and a million more to spaces that do not exist. Memory is the process's with its
children's, sampled several times a second.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.commands import commands
from bench.models import fitted
from bench.payloads import asking, stream
from bench.rig import console, ends, fill, rig, service
from bench.sampling import MIB, Sampler
from bench.seed import deploy
from schemas.scoring import REQUEST_ID
from schemas.topics import Topic
from transport.reading import new_consumer, partitions_of
from transport.settings import Settings
from transport.transactions import Write

# What this process holds at once of what it fills in.
SLICE = 20_000
SAMPLE_S = 0.2
# So many samples within a MiB of each other: nothing is being loaded any more.
SETTLED = 15
LOOK_S = 1.0
SHOW_S = 10.0
# No record more for so long: what is missing by then does not come.
STALLED_S = 60.0
# Every fifth command is one that the rules refuse.
REFUSED = 5


@dataclass(frozen=True, slots=True)
class Worked:
    """What became of a backlog; bytes are of the process and its children."""

    title: str
    count: int
    seconds: float
    ready: int
    peak: int
    lost: int
    twice: int


def main() -> None:
    """Measure and print; exit status 1 where anything was lost or came twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--commands", type=int, default=200_000)
    parser.add_argument("--unknown", type=int, default=1_000_000, help="to unknown spaces")
    given = parser.parse_args()
    with rig() as (settings, folder):
        rows = [
            *([scoring(settings, folder, given.requests)] if given.requests else []),
            *([control(settings, folder, given.commands, REFUSED)] if given.commands else []),
            *([control(settings, folder, given.unknown, 1)] if given.unknown else []),
        ]
    show(rows)
    sys.exit(any(row.lost or row.twice for row in rows))


def scoring(settings: Settings, folder: Path, count: int) -> Worked:
    """Let one agent work off ``count`` requests."""
    estimator, frame = fitted("logistic")
    with service("worker", settings, folder):
        deployment = asyncio.run(deploy(settings, estimator, frame))
    idle = idle_bytes("scoring", settings, folder)
    payloads = asking([deployment], frame)
    writes = stream(settings, payloads, count)
    asyncio.run(fill_all(settings, "requests", writes, count))

    def number(record: Any) -> int:  # noqa: ANN401 - aiokafka's record
        return int(dict(record.headers)[REQUEST_ID])

    topic = settings.topics.responses
    return work_off("requests, one agent", "scoring", settings, folder, topic, count, number, idle)


def control(settings: Settings, folder: Path, count: int, refused_every: int) -> Worked:
    """Let one worker work off ``count`` commands, some or all about a space that is unknown."""
    name = "commands to unknown spaces" if refused_every == 1 else "commands"
    app = name.replace(" ", "-")
    own = Settings(settings.bootstrap_servers, f"{app}.", settings.store, app)
    idle = idle_bytes("worker", own, folder)
    asyncio.run(fill_all(own, name, commands(own, count, refused_every=refused_every), count))

    def number(record: Any) -> int:  # noqa: ANN401 - aiokafka's record
        return int(dict(record.headers)["ce_causationid"][1:])

    return work_off(
        f"{name}, one worker", "worker", own, folder, own.topics.events, count, number, idle
    )


async def fill_all(settings: Settings, name: str, writes: Iterator[Write], count: int) -> None:
    """Append ``writes`` a slice at a time, and say how far it is."""
    done, shown = 0, time.monotonic()
    while part := list(islice(writes, SLICE)):
        await fill(settings, part)
        done += len(part)
        if time.monotonic() > shown + SHOW_S or done == count:
            console.print(f"  {name} waiting: {done:,} of {count:,}")
            shown = time.monotonic()


def work_off(  # noqa: PLR0913, PLR0917 - what is worked off, by whom, and how it is counted
    title: str,
    module: str,
    settings: Settings,
    folder: Path,
    topic: Topic,
    count: int,
    number: Callable[[Any], int],
    idle: int,
) -> Worked:
    """Start ``module``, wait until ``topic`` has grown by ``count``, then count what is in it."""
    source = asyncio.run(ends(settings, topic))
    # Not until it is ready: a worker is only once it has worked its backlog off.
    with (
        service(module, settings, folder, wait=False) as running,
        Sampler(running.pids, SAMPLE_S) as sampler,
    ):
        asyncio.run(grown(settings, topic, sum(source), count, sampler))
    found, seconds = asyncio.run(tally(settings, topic, source, count, number))
    lost = sum(times == 0 for times in found)
    twice = sum(times > 1 for times in found)
    return Worked(title, count, seconds, idle, max(sizes(sampler)), lost, twice)


def idle_bytes(module: str, settings: Settings, folder: Path) -> int:
    """Return what ``module`` takes once it is ready and has nothing to do."""
    with service(module, settings, folder) as running, Sampler(running.pids, SAMPLE_S) as sampler:
        # Ready is not yet all: the verifying process goes on importing.
        while len(last := sizes(sampler)[-SETTLED:]) < SETTLED or max(last) - min(last) > MIB:
            time.sleep(SAMPLE_S)
    return last[-1]


def sizes(sampler: Sampler) -> list[int]:
    """Return the resident bytes of the process and its children, sample by sample."""
    at: dict[float, int] = {}
    for samples in sampler.samples.values():
        for sample in samples:
            at[sample.at_s] = at.get(sample.at_s, 0) + sample.rss
    return list(at.values())


async def grown(
    settings: Settings, topic: Topic, source: int, count: int, sampler: Sampler
) -> None:
    """Wait until ``topic`` has ``count`` records more than ``source``, or grows no further.

    By its end offsets, which count the markers of transactions too: cheap, and nearly right.
    """
    consumer = new_consumer(settings.bootstrap_servers)
    await consumer.start()
    try:
        where = partitions_of(topic)
        done, changed, shown = 0, time.monotonic(), time.monotonic()
        while done < count and time.monotonic() < changed + STALLED_S and not sampler.died:
            await asyncio.sleep(LOOK_S)
            now = sum((await consumer.end_offsets(where)).values()) - source
            if now > done:
                done, changed = now, time.monotonic()
            if time.monotonic() > shown + SHOW_S:
                size = sum(samples[-1].rss for samples in sampler.samples.values())
                console.print(f"  {topic.name}: about {done:,} of {count:,}, {size // MIB} MiB")
                shown = time.monotonic()
        # The markers ran ahead of the records by a few: let the last ones come.
        await asyncio.sleep(LOOK_S)
    finally:
        await consumer.stop()


async def tally(
    settings: Settings,
    topic: Topic,
    source: list[int],
    count: int,
    number: Callable[[Any], int],
) -> tuple[bytearray, float]:
    """Count the committed records behind ``source`` by their number, and time first to last (s)."""
    found = bytearray(count)
    times: list[int] = []
    consumer = new_consumer(settings.bootstrap_servers)
    await consumer.start()
    try:
        where = partitions_of(topic)
        consumer.assign(where)
        for partition, offset in zip(where, source, strict=True):
            consumer.seek(partition, offset)
        goal = await consumer.end_offsets(where)
        while any([await consumer.position(part) < goal[part] for part in where]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    at = number(record)
                    found[at] = min(found[at] + 1, 255)
                times = [min([*times[:1], records[0].timestamp]),
                         max([*times[1:], records[-1].timestamp])]  # fmt: skip
    finally:
        await consumer.stop()
    return found, (times[1] - times[0]) / 1000 if times else 0.0


def show(rows: list[Worked]) -> None:
    """Print a line for each backlog."""
    table = Table(title="Backlogs worked off", title_justify="left", box=None)
    headings = ("", "count", "seconds", "a second", "MiB at ready", "peak", "growth", "lost",
                "twice")  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if not heading else "right")
    for row in rows:
        table.add_row(
            row.title,
            f"{row.count:,}",
            f"{row.seconds:.1f}",
            f"{row.count / max(row.seconds, 0.001):,.0f}",
            f"{row.ready // MIB:,}",
            f"{row.peak // MIB:,}",
            f"{(row.peak - row.ready) // MIB:,}",
            f"{row.lost:,}",
            f"{row.twice:,}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
