"""CloudEvents 1.0, Kafka protocol binding: binary and structured content modes.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from schemas.errors import UndecodableError
from schemas.traces import TRACEPARENT, TRACESTATE, TraceContext, trace_of

Headers: TypeAlias = "list[tuple[str, bytes]]"

JSON_CONTENT = b"application/json"
STRUCTURED = "application/cloudevents+json"
# May be a half of a pair, or a whole one: looked at more closely where it occurs.
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_REQUIRED = ("specversion", "id", "source", "type")


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event: its context ``attributes`` (without ``ce_``) and its JSON ``data``.

    ``trace`` is what its record's headers say, or the Distributed Tracing extension.
    """

    attributes: dict[str, str]
    data: Any = field(default=None)
    trace: TraceContext | None = None

    @property
    def id(self) -> str:
        """The event's id; unique together with ``source``."""
        return self.attributes["id"]

    @property
    def source(self) -> str:
        """Who produced it."""
        return self.attributes["source"]

    @property
    def type(self) -> str:
        """Its type, e.g. ``baton.command.replace-asset.v1``."""
        return self.attributes["type"]


def decode(headers: Iterable[tuple[str, bytes]], value: bytes | None) -> CloudEvent:
    """Read an event from a record's headers and value, in binary or structured mode.

    Raises UndecodableError where it is neither.
    """
    texts: dict[str, str] = {}
    for name, raw in headers:
        try:
            texts[name.lower()] = (raw or b"").decode()
        except UnicodeDecodeError:
            raise UndecodableError(f"header {name!r} is not UTF-8") from None
    if value is None:
        raise UndecodableError("the record has no value; a command carries a JSON object")
    body = _json(value)
    if texts.get("content-type", "").startswith(STRUCTURED):
        if not isinstance(body, dict):
            raise UndecodableError("a structured CloudEvent is one JSON object")
        data = body.pop("data", None)
        attributes = {name: str(text) for name, text in body.items() if text is not None}
    else:
        data = body
        attributes = {name[3:]: text for name, text in texts.items() if name.startswith("ce_")}
    missing = [name for name in _REQUIRED if not attributes.get(name)]
    if missing:
        raise UndecodableError(
            "not a CloudEvent: missing "
            + ", ".join(f"ce_{name}" for name in missing)
            + " (headers in binary mode, members in structured mode)"
        )
    if attributes["specversion"] != "1.0":
        raise UndecodableError(f"CloudEvents specversion 1.0, not {attributes['specversion']!r}")
    traced = texts if TRACEPARENT in texts else attributes
    if TRACEPARENT not in traced:
        return CloudEvent(attributes, data)
    parent, state = traced[TRACEPARENT], traced.get(TRACESTATE, "")
    trace = trace_of(parent.encode(errors="replace"), state.encode(errors="replace"))
    return CloudEvent(attributes, data, trace)


def encode(event: CloudEvent) -> tuple[Headers, bytes]:
    """Return the headers and the value of ``event`` in binary mode."""
    headers: Headers = [(f"ce_{name}", text.encode()) for name, text in event.attributes.items()]
    headers.append(("content-type", JSON_CONTENT))
    if event.trace is not None:
        headers.extend(event.trace.headers)
    return headers, json.dumps(event.data, separators=(",", ":"), ensure_ascii=False).encode()


def _not_json(constant: str) -> Any:  # noqa: ANN401 - json's own hook type
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond a double")
    return number


def _json(value: bytes) -> Any:  # noqa: ANN401 - JSON is any of six types
    """Read JSON, and refuse what could be read but never written again."""
    try:
        # Decoded here and strictly: json.loads would take UTF-16 too, and surrogates in UTF-8.
        text = value.decode()
        body = json.loads(text, parse_constant=_not_json, parse_float=_finite)
        if _HALF_PAIR.search(text):
            # Half of a UTF-16 pair is no text: nothing that quotes it could be encoded.
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise UndecodableError(f"the value is not JSON: {error}") from None
    return body
