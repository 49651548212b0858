"""Whether commands wait and nothing applies them: then a fresh process does better.

A consumer that has lived through a broker's death may stand still without an error (seen once in
hundreds of such deaths): its successor works the commands off at once.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import BatonError
from transport.backlog import Backlog, Stand
from transport.consumer import Consumer
from transport.settings import Settings
from worker.metrics import WorkerMetrics
from worker.owner import PartitionOwner

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
    topic = settings.topics.commands.name
    backlog = Backlog(settings.bootstrap_servers)
    consumer = Consumer(
        bootstrap_servers=settings.bootstrap_servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        while True:
            await asyncio.sleep(WATCH_S)
            stands = {
                TopicPartition(topic, owner.partition): Stand(
                    owner.offset + 1, (owner, owner.offset)
                )
                for owner in owners()
                if owner.stands.is_set() and not owner.closed
            }
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                waiting = await backlog.look(consumer, stands)
                metrics.lag.show(
                    {where.partition: found.offsets for where, found in waiting.items()}
                )
                for where, found in waiting.items():
                    if found.seconds >= STALLED_S:
                        on_failure(
                            StalledError(f"commands of {where} wait for {found.seconds:.0f} s")
                        )
                        return
    finally:
        await consumer.stop()
