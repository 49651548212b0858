"""One requests partition: fence, seek, then batch by batch, each in one transaction."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ProducerFenced

from scoring.errors import AgentError
from scoring.scorer import Scorer
from transport.transactions import Write

log = logging.getLogger(__name__)

POLL_MS = 500

T = TypeVar("T")


class Commits(Protocol):
    """Where a batch's answers and offsets go: FencedProducer or PlainProducer."""

    async def start(self) -> None:
        """Connect; a fenced producer ends its predecessors here."""

    async def stop(self) -> None:
        """Disconnect."""

    async def commit(
        self,
        writes: Sequence[Write],
        offsets: Mapping[TopicPartition, int] | None = None,
        group: str | None = None,
    ) -> None:
        """Store answers and offsets."""


class Pipeline:
    """Scores one partition from its assignment to its revocation.

    Its own fetch loop begins after its producer has fenced the earlier owner and the partition was
    sought to the committed offset: so no record fetched before that can be scored (the rebalance
    trap, docs/architecture.md).
    """

    def __init__(  # noqa: PLR0913 - what a partition needs
        self,
        partition: TopicPartition,
        consumer: AIOKafkaConsumer,
        producer: Commits,
        scorer: Scorer,
        *,
        group: str,
        max_batch: int,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.partition = partition
        self._consumer = consumer
        self._producer = producer
        self._scorer = scorer
        self._group = group
        self._max_batch = max_batch
        self._on_failure = on_failure
        self._stopping = False
        self._next = 0
        self._droppable: asyncio.Future[Any] | None = None
        self.ready = asyncio.Event()
        self.fenced = False
        # What it is at: told where it takes too long.
        self.phase = "starting its producer"
        self.last_progress = time.monotonic()
        self._task = asyncio.create_task(self._run())

    @property
    def position(self) -> int:
        """The offset of the next request to score."""
        return self._next

    async def stop(self) -> None:
        """Stop: what is being fetched or scored is dropped, what is being committed ends first.

        A producer stopped inside a transaction would hang. A fetch may wait for the very rebalance
        that waits for this, and a batch for the state table, as long as a dead worker's transaction
        is open.
        """
        self._stopping = True
        if self._droppable is not None:
            self._droppable.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._producer.start()
            try:
                await self._until_stopped(self._seek())
                self.ready.set()
                while not self._stopping:
                    scored = await self._until_stopped(self._scored())
                    if scored is not None:
                        await self._commit(*scored)
            finally:
                self.phase = "stopping its producer"
                await self._producer.stop()
        except ProducerFenced:
            # Another agent owns the partition: it goes on from what was committed. If the group
            # thinks otherwise, the agent's watchdog sees a partition without a pipeline.
            self.fenced = True
            log.warning("fenced on %s: another agent has taken over", self.partition)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on
            self._on_failure(error)
        finally:
            self.ready.set()

    async def _until_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what ``work`` returns, or None where ``stop`` comes first."""
        if self._stopping:
            work.close()
            return None
        self._droppable = asyncio.ensure_future(work)
        try:
            result: T = await self._droppable
        except asyncio.CancelledError:
            if self._stopping:
                return None
            raise
        else:
            return result
        finally:
            self._droppable = None

    async def _seek(self) -> None:
        """Go to the committed offset, read after the fence: nobody can move it any more."""
        self.phase = "seeking"
        committed = await self._consumer.committed(self.partition)
        if committed is None:
            await self._consumer.seek_to_beginning(self.partition)
            self._next = await self._consumer.position(self.partition)
        else:
            self._consumer.seek(self.partition, committed)
            self._next = committed

    async def _scored(self) -> tuple[list[Write], int] | None:
        """Fetch a batch and score it; return its answers and the offset behind it."""
        self.phase = "fetching"
        fetched = await self._consumer.getmany(
            self.partition, timeout_ms=POLL_MS, max_records=self._max_batch
        )
        records = fetched.get(self.partition)
        if not records:
            return None
        if records[0].offset < self._next:
            raise AgentError(
                f"{self.partition} was fetched from offset {records[0].offset}, expected "
                f"{self._next}: going on would answer requests twice"
            )
        self.phase = "scoring"
        return await self._scorer.score(records), records[-1].offset + 1

    async def _commit(self, writes: list[Write], end: int) -> None:
        self.phase = "committing"
        await self._producer.commit(writes, {self.partition: end}, self._group)
        self._next = end
        self.last_progress = time.monotonic()
