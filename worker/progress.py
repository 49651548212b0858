"""Whether commands wait and nothing applies them: then a fresh process does better.

A consumer that has lived through a broker's death may stand still without an error (seen once in
hundreds of such deaths): its successor works the commands off at once.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import BatonError
from transport.consumer import Consumer
from transport.reading import read
from transport.settings import Settings
from worker.metrics import WorkerMetrics
from worker.owner import PartitionOwner

log = logging.getLogger(__name__)

WATCH_S = 5.0
# Beyond a transaction's deadline (10 s), which ends the process by itself.
STALLED_S = 30.0


class StalledError(BatonError):
    """Commands wait and are not applied."""

    code = "stalled"


async def watch_progress(
    settings: Settings,
    owners: Callable[[], Iterable[PartitionOwner]],
    on_failure: Callable[[BaseException], None],
    metrics: WorkerMetrics | None = None,
) -> None:
    """Call ``on_failure`` once an owner leaves commands waiting for STALLED_S; show the lag.

    A broker that is away is no failure: then waiting is right.
    """
    metrics = metrics or WorkerMetrics()
    consumer = Consumer(
        bootstrap_servers=settings.bootstrap_servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    await consumer.start()
    # By owner: the last command applied, and since when.
    since: dict[PartitionOwner, tuple[int, float]] = {}
    try:
        while True:
            await asyncio.sleep(WATCH_S)
            now = time.monotonic()
            standing = [owner for owner in owners() if owner.stands.is_set()]
            since = {owner: _unmoved(owner, since, now) for owner in standing}
            try:
                await _show(settings, consumer, standing, metrics)
                for owner, (offset, began) in since.items():
                    if now - began < STALLED_S or owner.closed:
                        continue
                    where = TopicPartition(settings.topics.commands.name, owner.partition)
                    if await _waits(settings, consumer, where, offset):
                        on_failure(
                            StalledError(f"commands of {where} wait for {now - began:.0f} s")
                        )
                        return
            except (KafkaError, OSError, TimeoutError):
                since.clear()
    finally:
        await consumer.stop()


async def _show(
    settings: Settings,
    consumer: Consumer,
    standing: Sequence[PartitionOwner],
    metrics: WorkerMetrics,
) -> None:
    """Show how far behind the end of their partitions the owners are."""
    name = settings.topics.commands.name
    where = {TopicPartition(name, owner.partition): owner for owner in standing}
    ends = await consumer.end_offsets(list(where)) if where else {}
    metrics.lag.show(
        {
            owner.partition: max(ends[partition] - owner.offset - 1, 0)
            for partition, owner in where.items()
        }
    )


def _unmoved(
    owner: PartitionOwner, since: dict[PartitionOwner, tuple[int, float]], now: float
) -> tuple[int, float]:
    offset, began = since.get(owner, (owner.offset, now))
    return (offset, began) if offset == owner.offset else (owner.offset, now)


async def _waits(
    settings: Settings, consumer: Consumer, where: TopicPartition, offset: int
) -> bool:
    """Return whether a command lies behind ``offset``; a transaction's marker is none."""
    end = (await consumer.end_offsets([where]))[where]
    if end <= offset + 1:
        return False
    async with aclosing(read(settings.bootstrap_servers, [where], after=offset)) as records:
        async for _ in records:
            return True
    return False
