"""Scoring: requests out, each answered once."""

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

from client.errors import ScoringError
from client.revisions import Revisions
from client.tail import Tail
from schemas.scoring import DEADLINE, DEPLOYMENT_ID, MIN_REVISION, REQUEST_ID
from schemas.times import epoch_ms
from schemas.topics import partition_for
from telemetry.tracing import current
from transport.admin import ensure_topics, wait_for_broker
from transport.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

# A broker that was killed needs so long to come back on a busy machine.
BROKER_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 30.0
IN_FLIGHT = 1000
# Of requests that go to the broker together.
BATCH_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Rows for a deployment: ``values`` has a list per row, ``fields`` names the columns.

    ``fields`` None: the columns are in the order of the model's input schema. ``min_revision``
    waits, bounded, for at least that revision; past ``deadline`` (aware) nobody needs an answer.
    """

    deployment_id: str
    values: Sequence[Sequence[Any]]
    fields: Sequence[str] | None = None
    request_id: str | None = None
    key: bytes | None = None
    min_revision: int | None = None
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """An answer: which asset and revision gave it, and the predictions, one entry a table."""

    request_id: str
    deployment_id: str
    asset_id: str
    revision: int
    predictions: list[dict[str, Any]]
    partition: int
    offset: int

    @property
    def values(self) -> list[list[Any]]:
        """The first table's rows: ``[prediction, probabilities]`` or ``[prediction]`` each."""
        rows: list[list[Any]] = self.predictions[0]["values"]
        return rows


class ScoringClient:
    """Sends requests to deployments and gives each its answer. An ``async with`` block opens it.

    ``timeout_s`` bounds the wait for an answer. After it a request is sent again, with the same id,
    up to ``retries`` times: whichever answer comes first counts. ``max_in_flight`` bounds how many
    are under way; who asks for more waits for a turn, before the time-out begins. ``revisions`` of
    a BatonClient: what that one has changed is seen here, as if each request named the
    ``min_revision``.

    >>> from client import ScoringClient
    >>> async with ScoringClient(settings) as scoring:
    ...     answer = await scoring.score(deployment, [[1.2, 0.3]], fields=["amount", "age"])
    >>> answer.asset_id, answer.revision, len(answer.values)
    ('fraud-7', 1, 1)
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
        retries: int = 0,
        max_in_flight: int = IN_FLIGHT,
        revisions: Revisions | None = None,
    ) -> None:
        self._settings = settings or Settings.from_env(os.environ)
        self._topics = self._settings.topics
        # Put together at each look: here once.
        self._requests = self._topics.requests
        self._timeout_s = timeout_s
        self._retries = retries
        self._slots = asyncio.Semaphore(max_in_flight)
        # Tell it of what other programs have changed: revisions.see(event).
        self.revisions = revisions if revisions is not None else Revisions()
        self._tail: Tail[ScoreResult] = Tail(self._settings, self._topics.responses, self._take)
        self._turn = itertools.count()
        # One at a time into a partition's batch, first come first served: aiokafka wakes all who
        # wait for a full one, to let few of them in. With ten thousand it does nothing else.
        self._doors = [asyncio.Lock() for _ in range(self._requests.partitions)]
        # Answers beyond a request's first: none, but after a crash with at-least-once delivery.
        self.repeated = 0

    async def __aenter__(self) -> Self:
        servers = self._settings.bootstrap_servers
        await wait_for_broker(servers, min(BROKER_TIMEOUT_S, self._timeout_s))
        await ensure_topics(servers, self._topics)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=servers,
            enable_idempotence=True,
            linger_ms=1,
            max_batch_size=BATCH_BYTES,
        )
        async with AsyncExitStack() as opening:
            opening.push_async_callback(self._producer.stop)
            await self._producer.start()
            opening.push_async_callback(self._tail.stop)
            await self._tail.start()
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def score(  # noqa: PLR0913 - the fields of a ScoreRequest
        self,
        deployment_id: str,
        values: Sequence[Sequence[Any]],
        *,
        fields: Sequence[str] | None = None,
        request_id: str | None = None,
        key: bytes | None = None,
        min_revision: int | None = None,
        deadline: datetime | None = None,
    ) -> ScoreResult:
        """Score the rows ``values`` and return the answer.

        Raises ScoringError where the answer is an error, TimeoutError where none comes.
        """
        request = ScoreRequest(
            deployment_id, values, fields, request_id, key, min_revision, deadline
        )
        return await self.ask(request)

    async def ask(self, request: ScoreRequest) -> ScoreResult:
        """Send ``request`` and return its answer; errors as for ``score``."""
        async with self._slots:
            return await self._tried(request)

    async def _tried(self, request: ScoreRequest) -> ScoreResult:
        request_id = request.request_id or str(uuid.uuid4())
        for _ in range(self._retries):
            with suppress(TimeoutError):
                return await self._once(request, request_id)
        return await self._once(request, request_id)

    async def _once(self, request: ScoreRequest, request_id: str | None = None) -> ScoreResult:
        request_id = request_id or request.request_id or str(uuid.uuid4())
        entry: dict[str, Any] = {"values": request.values}
        if request.fields is not None:
            entry["fields"] = list(request.fields)
        value = orjson.dumps(
            {"input_data": [entry]}, option=orjson.OPT_SERIALIZE_NUMPY, default=_plain
        )
        headers = [
            (DEPLOYMENT_ID, request.deployment_id.encode()),
            (REQUEST_ID, request_id.encode()),
        ]
        min_revision = request.min_revision
        if min_revision is None:
            min_revision = self.revisions.of(request.deployment_id)
        if min_revision is not None:
            headers.append((MIN_REVISION, str(min_revision).encode()))
        if request.deadline is not None:
            headers.append((DEADLINE, str(epoch_ms(request.deadline)).encode()))
        if (trace := current()) is not None:
            headers.extend(trace.headers)
        try:
            with self._tail.expected(request_id) as answer:
                async with asyncio.timeout(self._timeout_s):
                    partition = self._partition(request.key)
                    async with self._doors[partition]:
                        sent = await self._producer.send(
                            self._requests.name,
                            value,
                            key=request.key,
                            partition=partition,
                            headers=headers,
                        )
                    await sent
                    return await answer
        except (TimeoutError, KafkaTimeoutError):
            raise TimeoutError(
                f"no answer to request {request_id} after {self._timeout_s:g} s: is a scoring "
                "agent running? It may still come"
            ) from None

    async def stream(
        self,
        requests: Iterable[ScoreRequest] | AsyncIterable[ScoreRequest],
        *,
        max_in_flight: int = IN_FLIGHT,
    ) -> AsyncIterator[ScoreResult | ScoringError]:
        """Score ``requests``, giving each answer or error as it comes; a bounded number at once.

        A request that nobody answers in time ends the stream with TimeoutError, and so does what
        ``requests`` raises; those still under way are given up. Close it (contextlib.aclosing)
        where you leave it early.

        >>> from client import ScoreRequest, ScoringClient
        >>> requests = [ScoreRequest(deployment, [[n, 0.3]]) for n in range(100)]
        >>> async with ScoringClient(settings) as scoring:
        ...     answers = [answer async for answer in scoring.stream(requests, max_in_flight=10)]
        >>> len(answers), answers[0].revision
        (100, 1)
        """
        ask = self._tried if self._retries else self._once
        # The feed itself is one of them.
        running: set[asyncio.Task[Any]] = set()
        done: list[asyncio.Task[Any]] = []
        news, room = asyncio.Event(), asyncio.Event()

        async def feed() -> None:
            async for request in _async(requests):
                while len(running) > max_in_flight:
                    room.clear()
                    await room.wait()
                begin(ask(request))

        def begin(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
            task = asyncio.create_task(work)
            running.add(task)
            task.add_done_callback(settle)
            return task

        def settle(task: asyncio.Task[Any]) -> None:
            done.append(task)
            news.set()

        feeding = begin(feed())
        try:
            while running:
                await news.wait()
                news.clear()
                # Answers come many at a time; what they make room for is sent as many at a time.
                answered = done.copy()
                done.clear()
                for task in answered:
                    running.remove(task)
                    if task is feeding:
                        feeding.result()
                        continue
                    room.set()
                    yield settled(task)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _partition(self, key: bytes | None) -> int:
        count = self._requests.partitions
        return next(self._turn) % count if key is None else partition_for(key, count)

    def _take(self, record: Any) -> None:  # noqa: ANN401 - aiokafka's record
        request_id = (dict(record.headers).get(REQUEST_ID) or b"").decode()
        waiting = self._tail.waiting.get(request_id)
        if waiting is None:
            return
        if waiting.done():
            self.repeated += 1
        else:
            _answer(waiting, request_id, orjson.loads(record.value))


def _answer(
    waiting: "asyncio.Future[ScoreResult]", request_id: str, body: Mapping[str, Any]
) -> None:
    if "error" in body:
        fault = body["error"]
        waiting.set_exception(
            ScoringError(
                request_id,
                fault["code"],
                fault["message"],
                fault.get("field"),
                asset_id=body.get("asset_id"),
                revision=body.get("revision"),
            )
        )
        return
    place = body["request"]
    waiting.set_result(
        ScoreResult(
            request_id,
            body["deployment_id"],
            body["asset_id"],
            body["revision"],
            body["predictions"],
            place["partition"],
            place["offset"],
        )
    )


def settled(
    answer: "asyncio.Task[ScoreResult] | Future[ScoreResult]",
) -> ScoreResult | ScoringError:
    """Return the answer or the error that a request was answered with; raise any other."""
    error = answer.exception()
    return error if isinstance(error, ScoringError) else answer.result()


async def _async(
    requests: Iterable[ScoreRequest] | AsyncIterable[ScoreRequest],
) -> AsyncIterator[ScoreRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


def _plain(value: object) -> object:
    """Turn what a DataFrame holds into JSON: missing is null, a time is RFC 3339."""
    isoformat = getattr(value, "isoformat", None)
    if isoformat is not None:
        text = isoformat()
        return None if text == "NaT" else text
    item = getattr(value, "item", None)
    if item is not None:
        return item()
    if type(value).__name__ == "NAType":
        return None
    raise TypeError(f"{type(value).__name__} is no JSON value")
