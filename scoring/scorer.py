"""A batch of requests to a batch of answers: decode, group, predict once a deployment, encode."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import orjson

from schemas.errors import UndecodableError
from schemas.scoring import ASSET_ID, DEPLOYMENT_ID, REQUEST_ID, REVISION, STATUS, ScoringCode
from schemas.times import rfc3339
from schemas.topics import LARGE_BYTES, Topics, dead_letter_headers
from scoring.codecs.request import Record, Request, decode
from scoring.codecs.tables import Prediction, Served
from scoring.errors import ScoringError, invalid
from scoring.predictor import predict
from scoring.resolver import Resolver
from transport.transactions import Write

# Room for the answer's headers and the batch around it.
MAX_ANSWER_BYTES = LARGE_BYTES - 64 * 1024


class Scorer:
    """Gives every request exactly one answer, or one dead letter."""

    def __init__(self, topics: Topics, resolver: Resolver, *, revision_wait_s: float) -> None:
        self._responses = topics.responses.name
        self._dead_letters = topics.dead_letters.name
        self._resolver = resolver
        self._revision_wait_s = revision_wait_s

    async def score(self, records: Sequence[Record]) -> list[Write]:
        """Return what ``records`` (fetched before this is called) give rise to."""
        # The batch is in hand: what the state table holds from here on is new enough for it.
        await self._resolver.fence()
        requests: list[Request] = []
        writes: list[Write] = []
        by_deployment: dict[str, list[Request]] = {}
        awaited: dict[str, int] = {}
        for record in records:
            try:
                request = decode(record)
            except UndecodableError as error:
                writes.append(self._dead_letter(record, str(error)))
                continue
            if request.error is None and request.deployment_id is not None:
                name = request.deployment_id
                by_deployment.setdefault(name, []).append(request)
                if request.min_revision is not None:
                    awaited[name] = max(awaited.get(name, 0), request.min_revision)
            else:
                requests.append(request)
        if awaited:
            await self._resolver.reach(awaited, self._revision_wait_s)
        writes.extend(self._refuse(request, request.error) for request in requests)
        for name, group in by_deployment.items():
            writes.extend(await self._score_group(name, group))
        return writes

    async def _score_group(self, deployment_id: str, group: list[Request]) -> list[Write]:
        try:
            endpoint = await self._resolver.resolve(deployment_id)
        except ScoringError as error:
            return [self._refuse(request, error) for request in group]
        served = endpoint.served
        now_ms = time.time_ns() // 1_000_000
        writes: list[Write] = []
        due: list[Request] = []
        for request in group:
            late = _untimely(request, served.revision, now_ms)
            if late is None:
                due.append(request)
            else:
                writes.append(self._refuse(request, late, served))
        if not due:
            return writes
        results = await asyncio.to_thread(
            predict, endpoint.model, [request.tables for request in due]
        )
        # The same for every answer of the group.
        headers = _headers(served)
        for request, result in zip(due, results, strict=True):
            if isinstance(result, ScoringError):
                writes.append(self._refuse(request, result, served))
            else:
                writes.append(self._answer(request, served, result, headers))
        return writes

    def _answer(
        self,
        request: Request,
        served: Served,
        result: list[Prediction],
        headers: tuple[tuple[str, bytes], ...],
    ) -> Write:
        record = request.record
        place = {"partition": record.partition, "offset": record.offset}
        body = request.codec.encode(served, request.request_id, result, place)
        try:
            value = orjson.dumps(body)
        except TypeError as error:
            message = f"the model's answer is no JSON: {error}"
            failed = ScoringError(ScoringCode.MODEL_ERROR, message)
            return self._refuse(request, failed, served)
        if len(value) > MAX_ANSWER_BYTES:
            message = (
                f"the answer has {len(value)} bytes, at most {MAX_ANSWER_BYTES}: send fewer rows"
            )
            return self._refuse(request, invalid(message), served)
        return Write(
            self._responses,
            record.partition,
            record.key,
            value,
            ((REQUEST_ID, request.request_id.encode()), *headers),
        )

    def _refuse(
        self, request: Request, error: ScoringError | None, served: Served | None = None
    ) -> Write:
        error = error or invalid("the request cannot be read")
        record = request.record
        fault: dict[str, Any] = {"code": error.reason, "message": error.message}
        if error.field is not None:
            fault["field"] = error.field
        body: dict[str, Any] = {
            "id": request.request_id,
            "deployment_id": request.deployment_id,
            "error": fault,
            "request": {"partition": record.partition, "offset": record.offset},
        }
        headers = [(REQUEST_ID, request.request_id.encode()), (STATUS, b"error")]
        if request.deployment_id is not None:
            headers.append((DEPLOYMENT_ID, request.deployment_id.encode(errors="replace")))
        if served is not None:
            body |= {"asset_id": served.asset_id, "revision": served.revision}
            headers += [
                (ASSET_ID, served.asset_id.encode()),
                (REVISION, str(served.revision).encode()),
            ]
        return Write(self._responses, record.partition, record.key, orjson.dumps(body), headers)

    def _dead_letter(self, record: Record, reason: str) -> Write:
        where = dead_letter_headers(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            at=rfc3339(time.time_ns() // 1_000_000),
            reason=reason,
        )
        sent = [(name, value or b"") for name, value in record.headers]
        value = b"" if record.value is None else record.value
        return Write(self._dead_letters, 0, record.key, value, [*sent, *where])


def _headers(served: Served) -> tuple[tuple[str, bytes], ...]:
    return (
        (DEPLOYMENT_ID, served.deployment_id.encode()),
        (ASSET_ID, served.asset_id.encode()),
        (REVISION, str(served.revision).encode()),
        (STATUS, b"ok"),
    )


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
