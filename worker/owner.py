"""The owner of one commands partition: its only writer of events and state.

Building one fences whoever owned the partition before; from then on every change is one Kafka
transaction that holds the events, the state records and the cursor. So a command is applied exactly
once and the events and the state never disagree, whatever dies in between.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.checks import Check
from schemas.manifest import Manifest
from schemas.records import CursorRecord
from telemetry.tracing import Tracing
from transport.settings import Settings
from transport.state_view import StateView
from transport.transactions import REFRESH_S, FencedProducer
from worker.batch import Batch, TooLargeError
from worker.continuity import check_continuity
from worker.inbox import CommandMessage
from worker.lifecycle.decision import Decision
from worker.lifecycle.outcome import announce, conclude, deadline_check
from worker.lifecycle.rules import Rules
from worker.lifecycle.view import View, Work
from worker.metrics import WorkerMetrics

log = logging.getLogger(__name__)

# The longest that agents get to load a verified asset ahead.
HEAD_START_S = 10.0


class Verifies(Protocol):
    """Whoever tests a model file (artifacts.verify.Verifier)."""

    async def verify(self, manifest: Manifest) -> tuple[Check, ...]:
        """Return the checks made. Never raises for a bad model."""


@dataclass(frozen=True, slots=True)
class Duties:
    """What an owner needs besides its partition."""

    settings: Settings
    rules: Rules
    verifier: Verifies
    # Whoever ends the process when an owner cannot go on: the log, not memory, knows what happened.
    on_failure: Callable[[BaseException], None]
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    tracing: Tracing = field(default_factory=Tracing)


class PartitionOwner:
    """Applies the commands of one partition, in order, each exactly once."""

    def __init__(self, duties: Duties, partition: int) -> None:
        self.partition = partition
        self._duties = duties
        self._topics = duties.settings.topics
        self._producer = FencedProducer(
            duties.settings.bootstrap_servers,
            f"{duties.settings.app}-{self._topics.commands.name}-{partition}",
        )
        self._view = View()
        self._cursor = CursorRecord(offset=-1, sequence=0)
        # One transaction at a time; also what a revocation waits for.
        self._lock = asyncio.Lock()
        self._closed = False
        # Set once it has read the state and applies commands, or was given up.
        self.stands = asyncio.Event()
        # Verifications, and what keeps an idle owner's transactional id.
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Fence the earlier owner, read the state it left, and take up what it had pending."""
        await self._producer.start()
        servers = self._duties.settings.bootstrap_servers
        # It keeps nothing itself: of a million commands the view needs a tenth of what is read.
        table = StateView(
            servers, self._topics.state, [self.partition], kinds=(), on_change=self._view.load
        )
        try:
            await table.start()
            if (cursor := table.cursors.get(self.partition)) is not None:
                self._cursor = CursorRecord.model_validate_json(cursor)
        finally:
            await table.stop()
        await check_continuity(servers, self._topics, self.partition, self._cursor)
        for work in self._view.pending_work():
            self._begin(self._verify(work))
        self._begin(self._refresh())
        self.stands.set()
        log.info(
            "owner stands partition=%d offset=%d sequence=%d records=%d",
            self.partition,
            self._cursor.offset,
            self._cursor.sequence,
            len(self._view),
            extra={"partition": self.partition, "offset": self._cursor.offset},
        )

    @property
    def offset(self) -> int:
        """The offset of the last command applied; -1 before the first."""
        return self._cursor.offset

    @property
    def closed(self) -> bool:
        """Whether the partition was given up."""
        return self._closed

    def abandon(self) -> None:
        """Apply nothing from now on."""
        self._closed = True
        self.stands.set()

    async def apply(self, messages: Sequence[CommandMessage]) -> None:
        """Apply ``messages`` (of this partition, in order): one transaction, more of large ones."""
        async with self._lock:
            fresh = [message for message in messages if message.offset > self._cursor.offset]
            batch = self._batch()
            for message in fresh:
                if self._closed:
                    return
                batch.add(message)
                if batch.full or message is fresh[-1]:
                    batch.forget(message.timestamp_ms)
                    await self._commit(batch, message.offset)
                    self._duties.metrics.applied(batch.arrived)
                    batch = self._batch()

    async def close(self) -> None:
        """Let the running transaction end, then stop. Nothing is applied afterwards."""
        self.abandon()
        async with self._lock:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._producer.stop()

    def _batch(self) -> Batch:
        return Batch(
            self._topics,
            self._duties.rules,
            self.partition,
            self._view,
            self._cursor.sequence,
            tracing=self._duties.tracing,
        )

    async def _commit(self, batch: Batch, offset: int) -> None:
        cursor = CursorRecord(offset=offset, sequence=batch.sequence)
        began = time.monotonic()
        await self._producer.commit([*batch.writes(cursor)])
        self._duties.metrics.committed(batch.tally, time.monotonic() - began)
        for span in batch.spans:
            span.end()
        batch.view.merge()
        self._cursor = cursor
        for work in batch.work:
            self._begin(self._verify(work))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._duties.on_failure(error)

    async def _refresh(self) -> None:
        """Write the cursor again and again, so that the broker keeps the transactional id."""
        while True:
            await asyncio.sleep(REFRESH_S)
            async with self._lock:
                if self._closed:
                    return
                await self._commit(self._batch(), self._cursor.offset)

    async def _verify(self, work: Work) -> None:
        late = deadline_check(work, _now_ms())
        began = time.monotonic()
        checks = (late,) if late is not None else await self._verified_checks(work)
        took = time.monotonic() - began
        passed = all(check.passed for check in checks)
        self._duties.metrics.verified(took, passed=passed)
        log.info(
            "verification %s command=%s seconds=%.3f",
            "passed" if passed else "failed",
            work.command_id,
            took,
            extra={
                "command_id": work.command_id,
                "partition": self.partition,
                **({"deployment_id": work.id} if work.kind == "deployment" else {}),
                **({"trace_id": work.trace.trace_id} if work.trace is not None else {}),
            },
        )
        if passed and await self._change(announce, work):
            # As long as it took here it may take there: then the switch itself costs nothing.
            await asyncio.sleep(min(took, HEAD_START_S))
        try:
            await self._change(conclude, work, checks, _now_ms())
        except TooLargeError:
            # Two lists of ten thousand labels, say: which check failed is what counts.
            bare = {"expected": None, "actual": None}
            short = tuple(check.model_copy(update=bare) for check in checks)
            await self._change(conclude, work, short, _now_ms())

    async def _verified_checks(self, work: Work) -> tuple[Check, ...]:
        span = None
        if work.trace is not None:
            attributes = {"baton.command_id": work.command_id}
            span = self._duties.tracing.begin("verify", work.trace, attributes)
        with self._duties.metrics.verifying.track_inprogress():
            checks = await self._duties.verifier.verify(work.manifest)
        if span is not None:
            span.end()
        return checks

    async def _change(self, rule: Callable[..., Decision], *what: object) -> bool:
        """Decide by ``rule`` and commit; False where nothing follows.

        Whole or not at all: close() cancels a task only while it waits for its turn.
        """
        async with self._lock:
            if self._closed:
                return False
            batch = self._batch()
            batch.take(rule(batch.view, *what))
            if not batch:
                return False
            await self._commit(batch, self._cursor.offset)
            return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
