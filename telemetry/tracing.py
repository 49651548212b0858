"""Traces: contexts passed on always, spans where OpenTelemetry is installed and told where to go.

Nothing of OpenTelemetry is imported unless one of its OTLP endpoints is set.
"""

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from schemas.traces import TRACEPARENT, TRACESTATE, TraceContext, trace_of

log = logging.getLogger(__name__)

# Links of one span: the standard's default limit.
MAX_LINKS = 128
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Attributes = Mapping[str, str | int]


class Span(Protocol):
    """A span that has begun: ``context`` is for what descends from it."""

    context: TraceContext

    def end(self) -> None:
        """End it, now."""


class Tracing:
    """Spans, if anybody wants them: this one makes none."""

    enabled = False

    def begin(self, name: str, parent: TraceContext, attributes: Attributes) -> Span | None:
        """Begin a span below ``parent``; None: pass ``parent`` on as it is."""

    def batch(
        self, name: str, members: Sequence[TraceContext], began_ns: int, attributes: Attributes
    ) -> None:
        """Record a span from ``began_ns`` (since the epoch) to now over ``members``.

        Below the one there is, or linked to all where there are several; none where none is
        sampled.
        """

    def flush(self) -> None:
        """Send what has not been sent; for a bounded time."""


def start_tracing(service: str, environ: Mapping[str, str]) -> Tracing:
    """Return what makes the spans of ``service`` (worker or scoring), as OTEL_* variables say."""
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or environ.get("OTEL_TRACES_EXPORTER", "") == "none":
        return Tracing()
    endpoint = next((name for name in ENDPOINTS if environ.get(name)), None)
    if endpoint is None:
        return Tracing()
    try:
        from telemetry.spans import exported  # noqa: PLC0415 - an extra
    except ImportError as error:
        log.warning(
            "%s is set, but there is no %s: no spans are made; install baton[telemetry]",
            endpoint,
            error.name,
        )
        return Tracing()
    return exported(service, environ)


def contexts(records: Iterable[Any]) -> list[TraceContext]:
    """Return the contexts of the first MAX_LINKS ``records`` (of Kafka) that have one."""
    found: list[TraceContext] = []
    for record in records:
        for name, value in record.headers:
            if name == TRACEPARENT:
                context = trace_of(value, dict(record.headers).get(TRACESTATE))
                if context is not None:
                    found.append(context)
                break
        if len(found) == MAX_LINKS:
            break
    return found


def current() -> TraceContext | None:
    """Return the context of the span that is current here, in a program that uses OpenTelemetry."""
    # A program that has not imported it has no span; and this must not import it.
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return TraceContext(parent, context.trace_state.to_header())
