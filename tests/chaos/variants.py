"""``python -m tests.chaos.variants NAME worker|scoring``: the service, with one thing changed.

Broken on purpose, to show that the checker can fail:

- ``reads-before-fence``: a worker that reads its state before it fences its predecessor
- ``ignores-cursor``: a worker that starts at the first command whatever the cursor says
- ``seeks-before-fence``: an agent that reads the committed offset before its producer is started
- ``lags-without-fence``: an agent that does not ask for the high watermarks, and whose view lags
- ``answers-outside``: an agent whose answers are written before, and outside, the transaction
- ``keeps-its-model``: an agent that goes on asking the model it loaded first

Right, but with a moment that a test can stretch (``moment``):

- ``waits-after-fence``: fences, waits, then reads what its predecessor left
- ``commits-late-and-dies``: waits with a batch in hand, tries to commit it, and kills itself
- ``waits-in-transaction``: waits between the last append and the commit
- ``lags``: an agent whose view of the state lags, and which asks for the high watermarks

And ``dies-in-transaction``, a fault: kills itself between the last append and the commit.
"""

import asyncio
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from artifacts.hosts import HostedModel
from schemas.records import CursorRecord
from scoring.cache import ModelCache, ModelRef
from scoring.delivery import ExactlyOnce
from scoring.places import Place
from scoring.resolver import Resolver
from transport.settings import Settings
from transport.state_view import StateView
from transport.transactions import FencedProducer, append
from worker.owner import PartitionOwner

POLL_S = 0.01
# Nobody forgets a variant in its moment: it goes on by itself.
LONGEST_S = 60.0
LAG_S = 2.0
# The transaction that it dies in: a service that shares the partitions may see few.
FATAL = 1


async def moment() -> bool:
    """Tell that the moment has come and wait for leave to go on; False where no test armed it."""
    path = Path(os.environ["CHAOS_MOMENT"])
    if not path.with_suffix(".armed").exists():
        return False
    path.with_suffix(".reached").touch()
    async with asyncio.timeout(LONGEST_S):
        while not path.with_suffix(".go").exists():  # noqa: ASYNC110 - the test is no coroutine of ours
            await asyncio.sleep(POLL_S)
    return True


def reads_before_fence() -> None:
    """Fence last."""
    start = PartitionOwner.start

    async def late(owner: PartitionOwner) -> None:
        fence = owner._producer.start

        async def nothing() -> None:
            pass

        owner._producer.start = nothing
        await start(owner)
        await moment()
        await fence()

    PartitionOwner.start = late


def ignores_cursor() -> None:
    """Begin at the first command."""
    start = PartitionOwner.start

    async def forgetful(owner: PartitionOwner) -> None:
        await start(owner)
        owner._cursor = CursorRecord(offset=-1, sequence=owner._cursor.sequence)

    PartitionOwner.start = forgetful


def seeks_before_fence() -> None:
    """Fence earlier holders once the committed offset is known."""
    fence, take = ExactlyOnce._fence, ExactlyOnce.take
    holders: list[str] = []

    async def later(_: ExactlyOnce, holder: str) -> None:
        holders.append(holder)

    async def early(delivery: ExactlyOnce, partition: TopicPartition) -> Place:
        place = await take(delivery, partition)
        await moment()
        for holder in holders:
            await fence(delivery, holder)
        return place

    ExactlyOnce._fence, ExactlyOnce.take = later, early


def claims_nothing() -> None:
    """Name no holder before the first answers are committed."""

    async def nothing(*_: Any) -> None:
        pass

    ExactlyOnce._claim = nothing
    commits_late_and_dies()


def waits_after_fence() -> None:
    """Wait once every predecessor is fenced."""
    start = FencedProducer.start

    async def fenced(producer: FencedProducer) -> None:
        await start(producer)
        await moment()

    FencedProducer.start = fenced


def waits_after_taking() -> None:
    """Wait with the partition taken over and nothing read of it."""
    take = ExactlyOnce.take

    async def taken(delivery: ExactlyOnce, partition: TopicPartition) -> Place:
        place = await take(delivery, partition)
        await moment()
        return place

    ExactlyOnce.take = taken


def commits_late_and_dies() -> None:
    """Wait with a batch in hand, then try to commit it: the last thing it does."""
    commit = FencedProducer.commit

    async def late(producer: FencedProducer, *what: Any, **more: Any) -> None:
        waited = await moment()
        try:
            await commit(producer, *what, **more)
        finally:
            # At once: nothing may come between the commit and the end, least of all a rebalance.
            if waited:
                os.kill(os.getpid(), signal.SIGKILL)

    FencedProducer.commit = late


def waits_in_transaction() -> None:
    """Wait with everything written and nothing committed."""
    commit = AIOKafkaProducer.commit_transaction

    async def late(producer: AIOKafkaProducer) -> None:
        await moment()
        await commit(producer)

    AIOKafkaProducer.commit_transaction = late


def lags() -> None:
    """Hear of everything late."""
    follow = StateView._follow

    async def late(view: StateView) -> None:
        getmany = view._consumer.getmany

        async def slow(**more: Any) -> Any:
            await asyncio.sleep(LAG_S)
            return await getmany(**more)

        view._consumer.getmany = slow
        await follow(view)

    StateView._follow = late


def lags_without_fence() -> None:
    """Lag, and take the view for the state all the same."""
    lags()

    async def nothing(_: Resolver) -> None:
        pass

    Resolver.fence = nothing


def answers_outside() -> None:
    """Write the answers with a producer of their own, then the offsets in the transaction."""
    commit = FencedProducer.commit

    async def outside(
        producer: FencedProducer, writes: Any, offsets: Any = None, group: Any = None
    ) -> None:
        servers = Settings.from_env(os.environ).bootstrap_servers
        async with AIOKafkaProducer(bootstrap_servers=servers) as plain:
            await asyncio.gather(*await append(plain, writes))
        await moment()
        await commit(producer, [], offsets, group)

    FencedProducer.commit = outside


def keeps_its_model() -> None:
    """Have whatever is asked answered by the model that was asked first."""
    get = ModelCache.get
    first: list[ModelRef] = []

    async def kept(cache: ModelCache, ref: ModelRef) -> HostedModel:
        first.append(ref)
        return await get(cache, first[0])

    ModelCache.get = kept


def dies_in_transaction() -> None:
    """Be killed with everything written and nothing committed."""
    commit = AIOKafkaProducer.commit_transaction
    count = 0

    async def fatal(producer: AIOKafkaProducer) -> None:
        nonlocal count
        count += 1
        if count == FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        await commit(producer)

    AIOKafkaProducer.commit_transaction = fatal


VARIANTS: dict[str, Callable[[], None]] = {
    change.__name__.replace("_", "-"): change
    for change in (
        reads_before_fence,
        ignores_cursor,
        seeks_before_fence,
        claims_nothing,
        lags_without_fence,
        answers_outside,
        keeps_its_model,
        waits_after_fence,
        waits_after_taking,
        commits_late_and_dies,
        waits_in_transaction,
        lags,
        dies_in_transaction,
    )
}

if __name__ == "__main__":
    VARIANTS[sys.argv[1]]()
    runpy.run_module(sys.argv[2], run_name="__main__")
