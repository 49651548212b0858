"""One requests partition: fence, seek, then batch by batch, each in one transaction."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ProducerFenced

from scoring.errors import AgentError
from scoring.scorer import Scorer
from transport.transactions import Write

log = logging.getLogger(__name__)

POLL_MS = 500


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
        self._scoring: asyncio.Task[list[Write]] | None = None
        self.ready = asyncio.Event()
        self.fenced = False
        self.last_progress = time.monotonic()
        self._task = asyncio.create_task(self._run())

    @property
    def position(self) -> int:
        """The offset of the next request to score."""
        return self._next

    async def stop(self) -> None:
        """Stop: a batch that is being scored is dropped, one that is being committed ends first.

        A producer stopped inside a transaction would hang. A batch may wait for the state table as
        long as a dead worker's transaction is open, which a rebalance must not wait for.
        """
        self._stopping = True
        if self._scoring is not None:
            self._scoring.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._producer.start()
            try:
                await self._seek()
                self.ready.set()
                while not self._stopping:
                    await self._step()
            finally:
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

    async def _seek(self) -> None:
        """Go to the committed offset, read after the fence: nobody can move it any more."""
        if self._stopping:
            return
        committed = await self._consumer.committed(self.partition)
        if self._stopping:
            return
        if committed is None:
            await self._consumer.seek_to_beginning(self.partition)
            self._next = await self._consumer.position(self.partition)
        else:
            self._consumer.seek(self.partition, committed)
            self._next = committed

    async def _step(self) -> None:
        fetched = await self._consumer.getmany(
            self.partition, timeout_ms=POLL_MS, max_records=self._max_batch
        )
        # No await between the fetch and this look: a revoked partition's batch is dropped.
        records = fetched.get(self.partition)
        if self._stopping or not records:
            return
        if records[0].offset < self._next:
            raise AgentError(
                f"{self.partition} was fetched from offset {records[0].offset}, expected "
                f"{self._next}: going on would answer requests twice"
            )
        self._scoring = asyncio.create_task(self._scorer.score(records))
        try:
            writes = await self._scoring
        except asyncio.CancelledError:
            # Stopped: whoever owns the partition next scores the batch.
            if self._stopping:
                return
            raise
        finally:
            self._scoring = None
        end = records[-1].offset + 1
        await self._producer.commit(writes, {self.partition: end}, self._group)
        self._next = end
        self.last_progress = time.monotonic()
