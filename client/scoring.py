"""Scoring: requests out, each answered once."""

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError

from client.errors import ScoringError
from client.tail import Tail
from schemas.scoring import DEADLINE, DEPLOYMENT_ID, MIN_REVISION, REQUEST_ID
from schemas.times import epoch_ms
from schemas.topics import partition_for
from telemetry.tracing import current
from transport.admin import ensure_topics, wait_for_broker
from transport.settings import Settings

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
    """Sends requests to deployments and gives each its answer. An ``async with`` block opens it."""

    def __init__(
        self, settings: Settings | None = None, *, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self._settings = settings or Settings.from_env(os.environ)
        self._topics = self._settings.topics
        # Put together at each look: here once.
        self._requests = self._topics.requests
        self._timeout_s = timeout_s
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
        await self._producer.start()
        await self._tail.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._tail.stop()
        await self._producer.stop()

    async def score(
        self,
        deployment_id: str,
        values: Sequence[Sequence[Any]],
        *,
        fields: Sequence[str] | None = None,
        **more: Any,  # noqa: ANN401 - the other fields of ScoreRequest
    ) -> ScoreResult:
        """Score the rows ``values`` and return the answer.

        Raises ScoringError where the answer is an error, TimeoutError where none comes.
        """
        return await self.ask(ScoreRequest(deployment_id, values, fields, **more))

    async def ask(self, request: ScoreRequest) -> ScoreResult:
        """Send ``request`` and return its answer; errors as for ``score``."""
        request_id = request.request_id or str(uuid.uuid4())
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
        if request.min_revision is not None:
            headers.append((MIN_REVISION, str(request.min_revision).encode()))
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
        """Score ``requests``, giving each answer or error as it comes; a bounded number at once."""
        running: set[asyncio.Task[ScoreResult]] = set()
        async for request in _async(requests):
            running.add(asyncio.create_task(self.ask(request)))
            while len(running) >= max_in_flight:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield _settled(task)
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield _settled(task)

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
            ScoringError(request_id, fault["code"], fault["message"], fault.get("field"))
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


def _settled(task: "asyncio.Task[ScoreResult]") -> ScoreResult | ScoringError:
    error = task.exception()
    if isinstance(error, ScoringError):
        return error
    return task.result()


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
