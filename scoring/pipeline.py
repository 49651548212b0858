"""One requests partition: fence, seek, then batch by batch, each in one transaction."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ProducerFenced

from scoring import owed
from scoring.delivery import Delivery
from scoring.errors import AgentError
from scoring.intake import Intake
from scoring.metrics import ScoringMetrics
from scoring.observation import Observation
from scoring.places import Place
from scoring.scorer import Answers, Owed, Scored
from telemetry.tracing import Tracing
from transport.transactions import REFRESH_S, Write

log = logging.getLogger(__name__)

# Late requests are held in memory: at most this many times the largest batch, and bytes.
LATE_BATCHES = 2
LATE_BYTES = 64 * 1024**2

T = TypeVar("T")


class Scores(Protocol):
    """Who answers requests (scoring.scorer.Scorer)."""

    async def score(self, records: Sequence[Any]) -> Scored:
        """Return answers now, and what will be answered later."""


class Pipeline:
    """Scores one partition from its assignment to its revocation.

    Its intake begins after the earlier owner was fenced and the partition was sought to the
    committed offset: so no record fetched before that can be scored (the rebalance trap,
    docs/architecture.md).
    """

    def __init__(  # noqa: PLR0913 - what a partition needs
        self,
        partition: TopicPartition,
        consumer: AIOKafkaConsumer,
        delivery: Delivery,
        scorer: Scores,
        *,
        max_batch: int,
        on_failure: Callable[[BaseException], None],
        metrics: ScoringMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.partition = partition
        self._consumer = consumer
        self._delivery = delivery
        self._scorer = scorer
        self._max_batch = max_batch
        self._on_failure = on_failure
        self._metrics = metrics or ScoringMetrics()
        self._observed = Observation(partition, self._metrics, tracing or Tracing())
        self._stopping = False
        # The offset behind the last request fetched, and the committed one: behind it, but while
        # the requests are fetched again that the predecessor owed.
        self._next = 0
        self._committed = 0
        self._owed: frozenset[int] = frozenset()
        self._late: dict[asyncio.Task[Answers], Owed] = {}
        self._intake = Intake(consumer, partition, max_batch)
        self._taking: asyncio.Task[list[Any]] | None = None
        self._droppable: asyncio.Future[Any] | None = None
        self.ready = asyncio.Event()
        # When it found itself fenced (time.monotonic), None while it is not.
        self.fenced_at: float | None = None
        # What it is at: told where it takes too long.
        self.phase = "taking over"
        # How often it has committed: while it does, it does not stand still.
        self.commits = 0
        self._task = asyncio.create_task(self._run())

    @property
    def position(self) -> int:
        """The offset of the first request that has no answer yet."""
        return min(self._unanswered() | {self._committed})

    @property
    def late(self) -> int:
        """How many requests wait for a slow model, passed over for now."""
        return sum(len(owed.offsets) for owed in self._late.values())

    async def stop(self) -> None:
        """Stop: what is being fetched or scored is dropped, what is being committed ends first.

        What is late is dropped too: the committed offset's metadata says that it is owed. A fetch
        may wait for the very rebalance that waits for this, and a batch for the state table, as
        long as a dead worker's transaction is open.
        """
        self._stopping = True
        if self._droppable is not None:
            self._droppable.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            try:
                await self._until_stopped(self._take_over())
                self.ready.set()
                while not self._stopping:
                    writes = await self._until_stopped(self._answers())
                    if writes is not None:
                        await self._commit(writes)
            finally:
                await self._drop()
        except ProducerFenced:
            # Another agent owns the partition: it goes on from what was committed. If the group
            # thinks otherwise, the agent's watch sees a fenced pipeline that stays.
            self.fenced_at = time.monotonic()
            self._metrics.fenced.inc()
            log.warning(
                "fenced on %s: another agent has taken over",
                self.partition,
                extra={"partition": self.partition.partition},
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on
            self._on_failure(error)
        finally:
            self.ready.set()

    async def _drop(self) -> None:
        """Cancel what is under way."""
        await self._intake.stop()
        running = {task for task in (self._taking, *self._late) if task is not None}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

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

    async def _take_over(self) -> None:
        """Read from where the partition stands: from the first request that has no answer."""
        place = await self._delivery.take(self.partition)
        self._committed, self._owed = place.offset, place.owed
        self._next = min(place.owed, default=place.offset)
        self._consumer.seek(self.partition, self._next)
        self._intake.start()

    async def _answers(self) -> Answers | None:
        """Return answers to commit: to a batch that was fetched, and late ones to earlier batches.

        What it returns is no longer owed, what is still to come is. None of them, where nothing has
        come for so long that the place is to be committed again.
        """
        self.phase = "fetching"
        if self._taking is None:
            self._taking = asyncio.create_task(self._intake.take())
        writes: Answers = []
        come, _ = await asyncio.wait(
            {self._taking, *self._late}, return_when=asyncio.FIRST_COMPLETED, timeout=REFRESH_S
        )
        if not come:
            return writes
        if self._taking.done():
            taking, self._taking = self._taking, None
            self._delivery.prepare()
            writes += await self._score(taking.result())
        writes += self._take_late()
        while self._too_late():
            self.phase = "waiting for late answers"
            await asyncio.wait(self._late, return_when=asyncio.FIRST_COMPLETED)
            writes += self._take_late()
        return writes or None

    async def _score(self, records: Sequence[Any]) -> Answers:
        """Return the answers to ``records`` that come at once, and keep the late ones."""
        self.phase = "scoring"
        if records[0].offset < self._next:
            raise AgentError(
                f"{self.partition} was fetched from offset {records[0].offset}, expected "
                f"{self._next}: going on would answer requests twice"
            )
        due = [r for r in records if r.offset >= self._committed or r.offset in self._owed]
        self._observed.fetched(due)
        scored = await self._scorer.score(due)
        self._late |= scored.late
        self._next = records[-1].offset + 1
        self._observed.scored(due, scored.late.values())
        return scored.writes

    def _take_late(self) -> Answers:
        """Return the late answers that have come."""
        come = [task for task in self._late if task.done()]
        for task in come:
            self._observed.caught_up(self._late.pop(task))
        return [write for task in come for write in task.result()]

    def _too_late(self) -> bool:
        """Whether more is late than memory or a commit's metadata should hold."""
        count = self.late
        return count > 0 and (
            count > LATE_BATCHES * self._max_batch
            or sum(late.bytes for late in self._late.values()) > LATE_BYTES
            or len(owed.encode(self._unanswered())) > owed.MAX_CHARS
        )

    def _unanswered(self) -> set[int]:
        """Return the requests before the offset to commit that have no answer yet."""
        again = {offset for offset in self._owed if offset >= self._next}
        return again.union(*(late.offsets for late in self._late.values()))

    async def _commit(self, writes: list[Write]) -> None:
        self.phase = "committing"
        end = max(self._committed, self._next)
        place = Place(end, frozenset(self._unanswered()))
        began = time.monotonic()
        await self._delivery.commit(writes, self.partition, place)
        self._committed = end
        self.commits += 1
        self._observed.committed(writes, time.monotonic() - began)
