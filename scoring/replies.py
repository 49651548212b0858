"""Answers, refusals and dead letters, as records of their topics."""

import time
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.scoring import ASSET_ID, DEPLOYMENT_ID, REQUEST_ID, REVISION, STATUS, ScoringCode
from schemas.times import rfc3339
from schemas.topics import LARGE_BYTES, Topics, dead_letter_headers
from scoring.codecs.request import Record, Request
from scoring.codecs.tables import Prediction, Served
from scoring.errors import ScoringError, invalid
from transport.transactions import Write

# Room for the answer's headers and the batch around it.
MAX_ANSWER_BYTES = LARGE_BYTES - 64 * 1024


@dataclass(slots=True)
class Refusal(Write):
    """An answer that says why a request was not scored."""

    code: ScoringCode = ScoringCode.INVALID_REQUEST


class DeadLetter(Write):
    """A record that nobody can be told about."""

    __slots__ = ()


class Replies:
    """Writes what a request is told, on its own partition number."""

    def __init__(self, topics: Topics) -> None:
        # A name is put together at each look: here once.
        self._responses = topics.responses.name
        self._dead_letters = topics.dead_letters.name

    def answer(self, request: Request, served: Served, result: list[Prediction]) -> Write:
        """Return the answer to ``request``: a refusal where it is no JSON, or too large."""
        record = request.record
        place = (record.partition, record.offset)
        try:
            value = request.codec.encode(served, request.request_id, result, place)
        except TypeError as error:
            message = f"the model's answer is no JSON: {error}"
            failed = ScoringError(ScoringCode.MODEL_ERROR, message)
            return self.refuse(request, failed, served)
        if len(value) > MAX_ANSWER_BYTES:
            message = (
                f"the answer has {len(value)} bytes, at most {MAX_ANSWER_BYTES}: send fewer rows"
            )
            return self.refuse(request, invalid(message), served)
        return Write(
            self._responses,
            record.partition,
            record.key,
            value,
            ((REQUEST_ID, request.request_id.encode()), *served.headers, *request.trace),
        )

    def refuse(
        self, request: Request, error: ScoringError | None, served: Served | None = None
    ) -> Write:
        """Return the answer that says why ``request`` was not scored."""
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
        headers += request.trace
        return Refusal(
            self._responses,
            record.partition,
            record.key,
            orjson.dumps(body),
            headers,
            code=error.reason,
        )

    def dead_letter(self, record: Record, reason: str) -> Write:
        """Return ``record``, untouched, with headers that say whence and why."""
        where = dead_letter_headers(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            at=rfc3339(time.time_ns() // 1_000_000),
            reason=reason,
        )
        sent = [(name, value or b"") for name, value in record.headers]
        value = b"" if record.value is None else record.value
        return DeadLetter(self._dead_letters, 0, record.key, value, [*sent, *where])
