"""Errors as RFC 9457 problem documents, with Baton's codes and checks."""

import http
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from client.deadletters import NoDeadLetterError, NotReplayableError
from client.errors import (
    CommandIdReusedError,
    CommandRejected,
    CommandTooLargeError,
    OutcomeTimeout,
    UpdateFailed,
)
from console.answers import RequestIdReusedError
from console.cursor import CursorError
from console.gateway import AnswerTimeout, BusyError, RequestTooLargeError
from console.streams import StreamsFullError
from schemas.checks import Check, Code
from schemas.errors import BatonError, StoreError
from schemas.scoring import ScoringCode

MEDIA_TYPE = "application/problem+json"
# Not for a browser to follow: a name, the same wherever the console runs.
TYPE = "urn:baton:problem:"
RETRY_S = "1"
# Of what does not fit a schema, in one answer.
MAX_FAULTS = 20

_NOT_FOUND = {
    Code.SPACE_NOT_FOUND,
    Code.ASSET_NOT_FOUND,
    Code.DEPLOYMENT_NOT_FOUND,
    Code.NO_SUCH_REVISION,
}
_GATE = {
    Code.INVALID_COMMAND,
    Code.FRAMEWORK_INCOMPATIBLE,
    Code.SCHEMA_MISSING,
    Code.SCHEMA_MISMATCH,
    Code.OUTPUT_MISMATCH,
    Code.STORE_NOT_ALLOWED,
}
REJECTION_STATUS: dict[str, int] = {
    code: 404 if code in _NOT_FOUND else 422 if code in _GATE else 409 for code in Code
}
SCORING_STATUS: dict[str, int] = {
    ScoringCode.DEPLOYMENT_NOT_FOUND: 404,
    ScoringCode.DEPLOYMENT_DELETED: 410,
    ScoringCode.DEPLOYMENT_NOT_READY: 503,
    ScoringCode.INVALID_REQUEST: 400,
    ScoringCode.SCHEMA_MISMATCH: 422,
    ScoringCode.ASSET_UNAVAILABLE: 503,
    ScoringCode.MODEL_ERROR: 502,
    ScoringCode.DEADLINE_EXCEEDED: 504,
    ScoringCode.REVISION_TIMEOUT: 503,
}
_STATUS: dict[type[Exception], int] = {
    NoDeadLetterError: 404,
    CommandIdReusedError: 409,
    NotReplayableError: 409,
    RequestIdReusedError: 409,
    CommandTooLargeError: 413,
    RequestTooLargeError: 413,
    BusyError: 429,
    CursorError: 422,
    AnswerTimeout: 504,
    OutcomeTimeout: 504,
    StoreError: 503,
    StreamsFullError: 503,
}


class ProblemDocument(BaseModel):
    """RFC 9457. ``code`` is stable: branch on it. ``checks`` say what failed, one by one."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str
    title: str
    status: int
    detail: str
    code: str
    checks: list[Check] | None = None
    field: str | None = None
    request_id: str | None = None
    command_id: str | None = None


class Problem(HTTPException):
    """An answer that says what was expected, what came and what to do."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,  # noqa: ANN401 - any JSON
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code = code
        self.members = members

    def response(self, path: str = "") -> Response:
        """Return it as a problem document; below a scoring protocol's path in its words, too."""
        members = {name: value for name, value in self.members.items() if value is not None}
        document = {
            "type": f"{TYPE}{self.code}",
            "title": http.HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
            "code": self.code,
            **members,
            **self._spoken(path),
        }
        headers = dict(self.headers or {})
        if self.status_code in {429, 503}:
            headers.setdefault("Retry-After", RETRY_S)
        # Half of a UTF-16 pair, in a name that was sent, is no text that could be sent back.
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return Response(text.encode(errors="replace"), self.status_code, headers, MEDIA_TYPE)

    def _spoken(self, path: str) -> dict[str, Any]:
        if path.startswith("/v2"):
            return {"error": f"{self.code}: {self.detail}"}
        if path.startswith("/ml/"):
            trace = self.members.get("request_id") or ""
            return {"trace": trace, "errors": [{"code": self.code, "message": self.detail}]}
        return {}


def as_problem(error: Exception, *, conditional: bool = False) -> Problem:
    """Return what ``error`` is to a client: 500 where nobody foresaw it.

    ``conditional``: the request has named a revision in If-Match.
    """
    if isinstance(error, Problem):
        return error
    found = next((make(error) for kinds, make in _MAKERS if isinstance(error, kinds)), None)
    if found is None:
        return Problem(500, "internal_error", "the console failed at this: its log says at what")
    if conditional and found.code == Code.REVISION_CONFLICT:
        found.status_code = 412
    return found


def install(app: FastAPI) -> None:
    """Let ``app`` answer every error with a problem document."""

    async def handle(request: Request, error: Exception) -> Response:
        problem = as_problem(error, conditional="if-match" in request.headers)
        return problem.response(request.url.path)

    for kinds, _ in _MAKERS:
        for kind in kinds:
            app.add_exception_handler(kind, handle)
    # Starlette logs it, with where it came from.
    app.add_exception_handler(Exception, handle)


def _of_refusal(error: Any) -> Problem:  # noqa: ANN401 - of one of the kinds below
    rejection = getattr(error, "rejection", None)
    return Problem(
        422 if rejection is None else REJECTION_STATUS.get(rejection, 409),
        rejection or error.code,
        str(error) if rejection is None else error.message,
        checks=[check.model_dump(mode="json") for check in error.checks],
        command_id=error.event.command_id,
    )


def _of_invalid(error: Any) -> Problem:  # noqa: ANN401
    faults = error.errors()
    where = ".".join(str(part) for part in faults[0]["loc"] if part != "body")
    message = f"{where}: {faults[0]['msg']}" if where else str(faults[0]["msg"])
    errors = [
        {"field": ".".join(str(part) for part in fault["loc"]), "message": str(fault["msg"])}
        for fault in faults[:MAX_FAULTS]
    ]
    return Problem(422, Code.INVALID_COMMAND, message, field=where or None, errors=errors)


def _of_http(error: Any) -> Problem:  # noqa: ANN401
    phrase = http.HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    return Problem(error.status_code, code, str(error.detail), headers=error.headers)


def _of_text(error: Any) -> Problem:  # noqa: ANN401
    return Problem(422, Code.INVALID_COMMAND, f"half of a UTF-16 pair is no text: {error.reason}")


def _of_baton(error: Any) -> Problem | None:  # noqa: ANN401
    status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), None)
    if status is None:
        return None
    names = ("request_id", "command_id")
    members = {name: getattr(error, name) for name in names if hasattr(error, name)}
    after = getattr(error, "retry_after", None)
    headers = None if after is None else {"Retry-After": after}
    return Problem(status, error.code, str(error), headers=headers, **members)


def _of_kafka(error: Any) -> Problem:  # noqa: ANN401
    return Problem(
        503,
        "kafka_unavailable",
        f"Kafka does not answer ({error or type(error).__name__}): ask again in a moment",
    )


_MAKERS: tuple[tuple[tuple[type[Exception], ...], Callable[[Any], Problem | None]], ...] = (
    ((CommandRejected, UpdateFailed), _of_refusal),
    ((RequestValidationError,), _of_invalid),
    ((HTTPException,), _of_http),
    ((UnicodeEncodeError,), _of_text),
    ((BatonError,), _of_baton),
    ((KafkaError, TimeoutError, ConnectionError), _of_kafka),
)
