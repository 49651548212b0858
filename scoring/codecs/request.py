"""Scoring requests: from a record's headers and value to ids and tables of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from schemas.errors import UndecodableError
from schemas.scoring import DEADLINE, DEPLOYMENT_ID, MIN_REVISION, REQUEST_ID
from schemas.traces import TRACEPARENT, TRACESTATE, trace_of
from scoring.codecs import v2, wml
from scoring.codecs.shapes import Shapes
from scoring.codecs.tables import Codec, Table
from scoring.errors import ScoringError, invalid

# An id travels in the answer's headers: one of any length would make an answer too large to send.
MAX_ID_CHARS = 1024
# Of this process: bytes to what they say, so it does not matter who reads them.
_shapes = Shapes()

Headers = Sequence[tuple[str, bytes | None]]


class Record(Protocol):
    """What is read of a Kafka record (aiokafka.ConsumerRecord)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(slots=True)
class Request:
    """One request. ``error`` is set where it cannot be scored; then the rest is what was readable.

    ``request_id`` is ``topic-partition-offset`` where the client gave none: two deliveries of the
    same request carry the same id. ``trace`` are the headers that its answer carries on.
    """

    record: Record
    request_id: str
    deployment_id: str | None
    codec: Codec
    tables: list[Table]
    min_revision: int | None = None
    deadline_ms: int | None = None
    error: ScoringError | None = None
    trace: tuple[tuple[str, bytes], ...] = ()


def decode(record: Record) -> Request:
    """Read the request in ``record``: WML or Open Inference Protocol V2, told by their members.

    A request that says who asks but is otherwise wrong comes back with its ``error`` set.
    Raises UndecodableError where nobody can be answered: no JSON object, and no request-id header.
    """
    headers = dict(record.headers) if record.headers else {}
    request = _known(record, headers) or _read(record, headers)
    if TRACEPARENT in headers:
        context = trace_of(headers[TRACEPARENT], headers.get(TRACESTATE))
        request.trace = () if context is None else context.headers
    return request


def _read(record: Record, headers: dict[str, bytes | None]) -> Request:
    request = Request(record, "", None, wml, [])
    try:
        request.request_id = _text(headers.get(REQUEST_ID), REQUEST_ID) or ""
        body = _body(record.value)
    except ScoringError as error:
        if not request.request_id and REQUEST_ID not in headers:
            raise UndecodableError(
                f"{error.message}; without a {REQUEST_ID} header nobody can be answered"
            ) from None
        request.error = error
        body = {}
    try:
        _read_ids(request, headers, body)
        if request.error is None:
            _read_limits(request, headers, body)
            request.tables = request.codec.decode(body)
            if record.value is not None and len(body) == len(request.tables) == 1:
                _shapes.learn(record.value, request.tables[0].fields)
    except ScoringError as error:
        request.error = request.error or error
    if not request.request_id:
        request.request_id = f"{record.topic}-{record.partition}-{record.offset}"
    return request


def _known(record: Record, headers: dict[str, bytes | None]) -> Request | None:
    """Read a request that is like earlier ones; None where it must be read whole.

    The same as above for the most frequent kind: WML, one table, ids in the headers.
    """
    if record.value is None or not headers.get(DEPLOYMENT_ID):
        return None
    try:
        request_id = _text(headers.get(REQUEST_ID), REQUEST_ID)
        if request_id is None or (table := _shapes.read(record.value)) is None:
            return None
        deployment_id = _text(headers[DEPLOYMENT_ID], DEPLOYMENT_ID)
        request = Request(record, request_id, deployment_id, wml, [table])
        if MIN_REVISION in headers or DEADLINE in headers:
            _read_limits(request, headers, {})
    except ScoringError:
        return None
    return request


def _body(value: bytes | None) -> dict[str, Any]:
    if value is None:
        raise invalid("the record has no value; a request carries a JSON object")
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the value is not JSON: {error}") from None
    if type(body) is not dict:
        raise invalid(f"a request is a JSON object, not {_kind(body)}")
    return body


def _read_ids(request: Request, headers: dict[str, bytes | None], body: dict[str, Any]) -> None:
    if "inputs" in body and "input_data" not in body:
        request.codec = v2
    if not request.request_id:
        request.request_id = _member(body, "id") or ""
    request.deployment_id = _text(headers.get(DEPLOYMENT_ID), DEPLOYMENT_ID)
    named = _member(_options(body), "deployment_id")
    if request.deployment_id is None:
        request.deployment_id = named
    elif named is not None and named != request.deployment_id:
        raise invalid(
            f"the {DEPLOYMENT_ID} header says {request.deployment_id!r} and the body {named!r}: "
            "send one, or the same in both",
            "deployment_id",
        )
    if request.deployment_id is None and request.error is None:
        raise invalid(
            f"no deployment is named: send a {DEPLOYMENT_ID} header or deployment_id in the body",
            "deployment_id",
        )


def _read_limits(request: Request, headers: dict[str, bytes | None], body: dict[str, Any]) -> None:
    options = _options(body)
    request.min_revision = _whole(headers, MIN_REVISION, options, "min_revision")
    request.deadline_ms = _whole(headers, DEADLINE, options, "deadline")


def _options(body: dict[str, Any]) -> dict[str, Any]:
    """Return where Baton's own members are: V2 keeps extensions under ``parameters``."""
    parameters = body.get("parameters")
    return {**parameters, **body} if type(parameters) is dict else body


def _text(raw: bytes | None, name: str) -> str | None:
    if not raw:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise invalid(f"header {name} is not UTF-8", name) from None
    return _bounded(text, name)


def _member(body: dict[str, Any], name: str) -> str | None:
    text = body.get(name)
    if text is None:
        return None
    if type(text) is not str or not text:
        raise invalid(f"{name} is a string that is not empty, not {_kind(text)}", name)
    return _bounded(text, name)


def _bounded(text: str, name: str) -> str:
    if len(text) > MAX_ID_CHARS:
        raise invalid(f"{name} has {len(text)} characters, at most {MAX_ID_CHARS} are read", name)
    return text


def _whole(
    headers: dict[str, bytes | None], header: str, options: dict[str, Any], name: str
) -> int | None:
    raw = headers.get(header)
    if raw is not None:
        # int() would read "1_0" and " 7 " too. 18 digits stay within 64 bits.
        if raw.isdigit() and len(raw) <= 18:  # noqa: PLR2004 - the comment says it
            return int(raw)
        raise invalid(f"header {header} is a whole number, not {raw[:40]!r}", header)
    number = options.get(name)
    if number is None or (type(number) is int and number >= 0):
        return number
    raise invalid(f"{name} is a whole number, not {_kind(number)}", name)


def _kind(value: object) -> str:
    """Name a JSON value for a message, without its whole text."""
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return kinds.get(type(value)) or ("null" if value is None else f"the number {value}")
