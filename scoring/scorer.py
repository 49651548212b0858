"""A batch of requests to a batch of answers: decode, group, predict once a deployment, encode."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from schemas.errors import UndecodableError
from schemas.scoring import ScoringCode
from schemas.topics import Topics
from scoring.codecs.request import Record, Request, decode
from scoring.errors import ScoringError
from scoring.metrics import ScoringMetrics
from scoring.predictor import Predictor
from scoring.replies import Replies
from scoring.resolver import Endpoint, Resolver
from transport.futures import retrieve
from transport.transactions import Write

log = logging.getLogger(__name__)

# A group of requests that takes longer is answered later, and the others now.
PATIENCE_S = 0.2
# A request of more bytes is a batch of its own, read and answered aside: its 100,000 rows, say, are
# a second's work. So many are in hand at once, of all partitions: each is 20 MB of Python values.
BULK_BYTES = 64 * 1024
BULKS_AT_ONCE = 4
# Of a lot's deployments in a line of the log.
SHOWN = 5

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


# Requests for one deployment, with what serves it.
Group = tuple[Endpoint, list[Request]]


@dataclass(slots=True)
class _Sorted:
    """The requests of a batch.

    ``lots`` are by model, a call answers each; ``waiting`` by the deployment and revision awaited;
    ``unresolved`` by the deployment, which serves nothing as far as is known.
    """

    lots: dict[str, list[Group]] = field(default_factory=dict)
    waiting: dict[tuple[str, int], list[Request]] = field(default_factory=dict)
    unresolved: dict[str, list[Request]] = field(default_factory=dict)


class Scorer:
    """Gives every request exactly one answer, or one dead letter."""

    def __init__(
        self,
        topics: Topics,
        resolver: Resolver,
        predictor: Predictor,
        *,
        revision_wait_s: float,
        metrics: ScoringMetrics | None = None,
    ) -> None:
        self._replies = Replies(topics)
        self._resolver = resolver
        self._predictor = predictor
        self._revision_wait_s = revision_wait_s
        self._deployments = (metrics or ScoringMetrics()).deployments
        # Models with late lots under way, in any partition.
        self._behind: Counter[str] = Counter()
        self._bulk = asyncio.Semaphore(BULKS_AT_ONCE)

    async def score(self, records: Sequence[Record]) -> Scored:
        """Return what ``records`` (fetched before this is called) give rise to."""
        # The batch is in hand: what the state table holds from here on is new enough for it. The
        # models are asked meanwhile; what turns out to serve no more is asked again.
        fence = asyncio.create_task(self._resolver.fence())
        writes: Answers = []
        small = [record for record in records if not _is_bulk(record)]
        batch = self._sorted(small, writes)
        tasks = {
            asyncio.create_task(self._score_ahead(lot, fence)): [
                r for _, group in lot for r in group
            ]
            for lot in batch.lots.values()
        }
        # Nobody waits for a model that is behind already, nor for a revision that is to come.
        models = dict(zip(tasks, batch.lots, strict=True))
        prompt = [task for task, model in models.items() if not self._behind[model]]
        try:
            await fence
            for task, group, soon in self._left(batch, writes):
                tasks[task] = group
                if soon:
                    prompt.append(task)
            if prompt:
                await asyncio.wait(prompt, timeout=PATIENCE_S)
        except BaseException:
            for task in tasks:
                task.cancel()
                # One that heard of the fence's failure first has told whoever awaits it.
                task.add_done_callback(retrieve)
            raise
        late: dict[asyncio.Task[Answers], Owed] = {}
        for task, group in tasks.items():
            if task.done():
                writes.extend(task.result())
                continue
            late[task] = Owed.to([request.record for request in group])
            if (model := models.get(task)) is not None:
                self._behind[model] += 1
                task.add_done_callback(partial(self._caught_up, model))
        late |= self._bulks(records)
        return Scored(writes, late)

    def _left(
        self, batch: _Sorted, writes: Answers
    ) -> Iterator[tuple["asyncio.Task[Answers]", list[Request], bool]]:
        """Begin to answer what no model was asked about ahead; tell whether it comes soon."""
        for name, group in batch.unresolved.items():
            endpoint = self._endpoint(name, group, writes)
            if endpoint is not None:
                yield asyncio.create_task(self._score_lot([(endpoint, group)])), group, True
        for (name, awaited), group in batch.waiting.items():
            task = asyncio.create_task(self._score_awaited(name, awaited, group))
            yield task, group, awaited <= self._resolver.revision(name)

    def _bulks(self, records: Sequence[Record]) -> dict["asyncio.Task[Answers]", Owed]:
        """Begin to answer the large requests among ``records``."""
        return {
            asyncio.create_task(self._score_bulk(record)): Owed.to([record])
            for record in records
            if _is_bulk(record)
        }

    async def _score_bulk(self, record: Record) -> Answers:
        """Return the answer to one large request, in steps that leave room for the others."""
        writes: Answers = []
        async with self._bulk:
            batch = await asyncio.to_thread(self._sorted, [record], writes)
            for lot in batch.lots.values():
                writes += await self._score_lot(lot)
            for name, group in batch.unresolved.items():
                writes += await self._score_resolved(name, group)
        # A revision to wait for: not in a place that others wait for.
        for (name, awaited), group in batch.waiting.items():
            await self._resolver.reach(name, awaited, self._revision_wait_s)
            async with self._bulk:
                writes += await self._score_resolved(name, group)
        return writes

    def _sorted(self, records: Sequence[Record], writes: Answers) -> _Sorted:
        """Return the requests, sorted; what cannot be scored at all is answered in ``writes``."""
        found = _Sorted()
        groups: dict[str, list[Request]] = {}
        for record in records:
            request = self._read(record, writes)
            if request is None:
                continue
            name, awaited = request.deployment_id, request.min_revision
            if request.error is not None or name is None:
                writes.append(self._replies.refuse(request, request.error))
            elif awaited and awaited > self._resolver.revision(name):
                found.waiting.setdefault((name, awaited), []).append(request)
            elif name in groups:
                groups[name].append(request)
            else:
                groups[name] = [request]
        for name, group in groups.items():
            try:
                endpoint = self._resolver.resolve(name)
            except ScoringError:
                found.unresolved[name] = group
            else:
                found.lots.setdefault(endpoint.model.key, []).append((endpoint, group))
        return found

    def _caught_up(self, model: str, _: "asyncio.Task[Answers]") -> None:
        self._behind[model] -= 1
        if not self._behind[model]:
            del self._behind[model]

    def _read(self, record: Record, writes: Answers) -> Request | None:
        try:
            return decode(record)
        except UndecodableError as error:
            writes.append(self._replies.dead_letter(record, str(error)))
        except Exception as error:
            # A record that our own code cannot read must not end every agent that tries.
            log.exception(
                "unreadable request %s:%d",
                record.partition,
                record.offset,
                extra={"partition": record.partition, "offset": record.offset},
            )
            writes.append(
                self._replies.dead_letter(record, f"cannot be read: {type(error).__name__}")
            )
        return None

    async def _score_awaited(self, name: str, awaited: int, group: list[Request]) -> Answers:
        """Return the answers to requests for one deployment, once it is at ``awaited``."""
        await self._resolver.reach(name, awaited, self._revision_wait_s)
        return await self._score_resolved(name, group)

    async def _score_resolved(self, name: str, group: list[Request]) -> Answers:
        """Return the answers to requests for one deployment by what serves it now."""
        writes: Answers = []
        endpoint = self._endpoint(name, group, writes)
        return writes if endpoint is None else await self._score_lot([(endpoint, group)])

    def _endpoint(self, name: str, group: list[Request], writes: Answers) -> Endpoint | None:
        """Return what serves a deployment now, or None: then its requests are refused."""
        try:
            return self._resolver.resolve(name)
        except ScoringError as error:
            writes.extend([self._replies.refuse(request, error) for request in group])
        return None

    async def _score_ahead(self, lot: list[Group], fence: "asyncio.Task[None]") -> Answers:
        """Return the answers to requests for deployments of one model, asked before the fence.

        They hold where the deployment serves the same behind it; else it is asked again.
        """
        writes = await self._answers(lot)
        await asyncio.shield(fence)
        if all(self._serves(endpoint) for endpoint, _ in lot):
            self._count(lot)
            return writes
        writes = []
        for endpoint, group in lot:
            writes += await self._score_resolved(endpoint.served.deployment_id, group)
        return writes

    def _serves(self, endpoint: Endpoint) -> bool:
        """Return whether the deployment of ``endpoint`` serves just that now."""
        try:
            return self._resolver.resolve(endpoint.served.deployment_id) == endpoint
        except ScoringError:
            return False

    async def _score_lot(self, lot: list[Group]) -> Answers:
        """Return the answers to requests for deployments of one model."""
        writes = await self._answers(lot)
        self._count(lot)
        return writes

    def _count(self, lot: list[Group]) -> None:
        for endpoint, group in lot:
            served = endpoint.served
            self._deployments.answered(served.deployment_id, served.revision, len(group))

    async def _answers(self, lot: list[Group]) -> Answers:
        """Return what the model of ``lot`` answers; nothing is counted yet."""
        writes: Answers = []
        try:
            due = list(self._due(lot, writes))
            if due:
                await self._scored(due, writes)
        except Exception as error:
            # A request that our own code stumbles over must not end every agent that tries it.
            names = [endpoint.served.deployment_id for endpoint, _ in lot[:SHOWN]]
            log.exception(
                "requests for deployments %s cannot be scored",
                names,
                extra={"deployment_ids": names},
            )
            told = ScoringError(
                ScoringCode.MODEL_ERROR, f"the agent failed on this batch: {type(error).__name__}"
            )
            return [self._replies.refuse(request, told) for _, group in lot for request in group]
        return writes

    def _due(self, lot: list[Group], writes: Answers) -> Iterator[tuple[Request, Endpoint]]:
        """Yield the requests to score; refuse those whose time is over or yet to come."""
        now_ms = time.time_ns() // 1_000_000
        for endpoint, group in lot:
            served = endpoint.served
            for request in group:
                if request.deadline_ms is not None or request.min_revision is not None:
                    untimely = _untimely(request, served.revision, now_ms)
                    if untimely is not None:
                        writes.append(self._replies.refuse(request, untimely, served))
                        continue
                yield request, endpoint

    async def _scored(self, due: list[tuple[Request, Endpoint]], writes: Answers) -> None:
        """Add the answers to requests for deployments of one model."""
        results = await self._predictor.predict(
            due[0][1].model, [request.tables for request, _ in due]
        )
        for (request, endpoint), result in zip(due, results, strict=True):
            served = endpoint.served
            if isinstance(result, ScoringError):
                writes.append(self._replies.refuse(request, result, served))
            elif _is_bulk(request.record):
                writes.append(
                    await asyncio.to_thread(self._replies.answer, request, served, result)
                )
            else:
                writes.append(self._replies.answer(request, served, result))


def _is_bulk(record: Record) -> bool:
    return len(record.value or b"") > BULK_BYTES


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
