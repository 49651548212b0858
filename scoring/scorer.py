"""A batch of requests to a batch of answers: decode, group, predict once a deployment, encode."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from schemas.errors import UndecodableError
from schemas.scoring import ScoringCode
from schemas.topics import Topics
from scoring.codecs.request import Record, Request, decode
from scoring.errors import ScoringError
from scoring.predictor import Predictor
from scoring.replies import Replies, served_headers
from scoring.resolver import Endpoint, Resolver
from transport.transactions import Write

log = logging.getLogger(__name__)

# A group of requests that takes longer is answered later, and the others now.
PATIENCE_S = 0.2
# A request of more bytes is a batch of its own, read and answered aside: its 100,000 rows, say, are
# a second's work. So many are in hand at once, of all partitions: each is 20 MB of Python values.
BULK_BYTES = 64 * 1024
BULKS_AT_ONCE = 4

Answers = list[Write]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a batch gives rise to: answers now, and others ``late``, with their requests."""

    writes: Answers
    late: dict["asyncio.Task[Answers]", "Owed"]


@dataclass(frozen=True, slots=True)
class Owed:
    """Requests that wait for their answers: their offsets, and the bytes of their values."""

    offsets: frozenset[int]
    bytes: int

    @classmethod
    def to(cls, records: Sequence[Record]) -> "Owed":
        """Return what is owed to ``records``."""
        return cls(
            frozenset(record.offset for record in records),
            sum(len(record.value or b"") for record in records),
        )


class Scorer:
    """Gives every request exactly one answer, or one dead letter."""

    def __init__(
        self, topics: Topics, resolver: Resolver, predictor: Predictor, *, revision_wait_s: float
    ) -> None:
        self._replies = Replies(topics)
        self._resolver = resolver
        self._predictor = predictor
        self._revision_wait_s = revision_wait_s
        # Deployments with late groups under way, in any partition.
        self._behind: Counter[str] = Counter()
        self._bulk = asyncio.Semaphore(BULKS_AT_ONCE)

    async def score(self, records: Sequence[Record]) -> Scored:
        """Return what ``records`` (fetched before this is called) give rise to."""
        # The batch is in hand: what the state table holds from here on is new enough for it.
        await self._resolver.fence()
        writes: Answers = []
        small = [record for record in records if len(record.value or b"") <= BULK_BYTES]
        groups = self._grouped(small, writes)
        tasks = {
            asyncio.create_task(self._score_group(name, awaited, group)): (name, awaited)
            for (name, awaited), group in groups.items()
        }
        # Nobody waits for a model that is behind already, nor for a revision that is to come.
        prompt = [t for t, (name, awaited) in tasks.items() if not awaited | self._behind[name]]
        try:
            if prompt:
                await asyncio.wait(prompt, timeout=PATIENCE_S)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        late: dict[asyncio.Task[Answers], Owed] = {}
        for task, (name, awaited) in tasks.items():
            if task.done():
                writes.extend(task.result())
                continue
            late[task] = Owed.to([request.record for request in groups[name, awaited]])
            if not awaited:
                self._behind[name] += 1
                task.add_done_callback(partial(self._caught_up, name))
        if len(small) < len(records):
            for record in records:
                if len(record.value or b"") > BULK_BYTES:
                    late[asyncio.create_task(self._score_bulk(record))] = Owed.to([record])
        return Scored(writes, late)

    async def _score_bulk(self, record: Record) -> Answers:
        """Return the answer to one large request, in steps that leave room for the others."""
        writes: Answers = []
        async with self._bulk:
            groups = await asyncio.to_thread(self._grouped, [record], writes)
            for (name, awaited), group in groups.items():
                if not awaited:
                    writes += await self._score_group(name, 0, group)
                    return writes
        # Nothing to score, or a revision to wait for: not in a place that others wait for.
        for (name, awaited), group in groups.items():
            await self._resolver.reach(name, awaited, self._revision_wait_s)
            async with self._bulk:
                writes += await self._score_group(name, 0, group)
        return writes

    def _grouped(
        self, records: Sequence[Record], writes: Answers
    ) -> dict[tuple[str, int], list[Request]]:
        """Return requests by deployment and by the revision that must come first (0: none must).

        What cannot be scored at all is answered in ``writes``.
        """
        groups: dict[tuple[str, int], list[Request]] = {}
        for record in records:
            request = self._read(record, writes)
            if request is None:
                continue
            name, awaited = request.deployment_id, request.min_revision or 0
            if request.error is not None or name is None:
                writes.append(self._replies.refuse(request, request.error))
            elif awaited <= self._resolver.revision(name):
                groups.setdefault((name, 0), []).append(request)
            else:
                groups.setdefault((name, awaited), []).append(request)
        return groups

    def _caught_up(self, name: str, _: "asyncio.Task[Answers]") -> None:
        self._behind[name] -= 1
        if not self._behind[name]:
            del self._behind[name]

    def _read(self, record: Record, writes: Answers) -> Request | None:
        try:
            return decode(record)
        except UndecodableError as error:
            writes.append(self._replies.dead_letter(record, str(error)))
        except Exception as error:
            # A record that our own code cannot read must not end every agent that tries.
            log.exception("unreadable request %s:%d", record.partition, record.offset)
            writes.append(
                self._replies.dead_letter(record, f"cannot be read: {type(error).__name__}")
            )
        return None

    async def _score_group(self, name: str, awaited: int, group: list[Request]) -> Answers:
        """Return the answers to requests for one deployment, once it is at ``awaited``."""
        if awaited:
            await self._resolver.reach(name, awaited, self._revision_wait_s)
        try:
            return await self._scored(self._resolver.resolve(name), group)
        except ScoringError as error:
            return [self._replies.refuse(request, error) for request in group]
        except Exception as error:
            # A request that our own code stumbles over must not end every agent that tries it.
            log.exception("requests for deployment %s cannot be scored", name)
            told = ScoringError(
                ScoringCode.MODEL_ERROR, f"the agent failed on this batch: {type(error).__name__}"
            )
            return [self._replies.refuse(request, told) for request in group]

    async def _scored(self, endpoint: Endpoint, group: list[Request]) -> Answers:
        served = endpoint.served
        now_ms = time.time_ns() // 1_000_000
        writes: Answers = []
        due: list[Request] = []
        for request in group:
            untimely = _untimely(request, served.revision, now_ms)
            if untimely is None:
                due.append(request)
            else:
                writes.append(self._replies.refuse(request, untimely, served))
        if not due:
            return writes
        results = await self._predictor.predict(
            endpoint.manifest, [request.tables for request in due]
        )
        # The same for every answer of the group.
        headers = served_headers(served)
        for request, result in zip(due, results, strict=True):
            if isinstance(result, ScoringError):
                writes.append(self._replies.refuse(request, result, served))
            elif len(request.record.value or b"") > BULK_BYTES:
                writes.append(
                    await asyncio.to_thread(self._replies.answer, request, served, result, headers)
                )
            else:
                writes.append(self._replies.answer(request, served, result, headers))
        return writes


def _untimely(request: Request, revision: int, now_ms: int) -> ScoringError | None:
    if request.deadline_ms is not None and now_ms > request.deadline_ms:
        return ScoringError(
            ScoringCode.DEADLINE_EXCEEDED,
            f"the deadline passed {now_ms - request.deadline_ms} ms ago",
            "deadline",
        )
    if request.min_revision is not None and revision < request.min_revision:
        return ScoringError(
            ScoringCode.REVISION_TIMEOUT,
            f"the deployment is at revision {revision}, not yet {request.min_revision}",
            "min_revision",
        )
    return None
