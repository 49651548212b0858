"""Spans by OpenTelemetry, sent by OTLP over HTTP. Imported only where they are wanted."""

import threading
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from schemas.traces import TraceContext
from telemetry.tracing import MAX_LINKS, Attributes, Span, Tracing

# Of a process that ends: a collector that is away must not keep it.
FLUSH_S = 2.0


class Spans(Tracing):
    """Makes spans and hands them to ``processor``, which sends them in a thread of its own."""

    enabled = True

    def __init__(self, processor: SpanProcessor, resource: Resource) -> None:
        # Not at exit: it would wait for a collector that is away.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("baton")

    def begin(self, name: str, parent: TraceContext, attributes: Attributes) -> Span:
        """Begin a span below ``parent``."""
        return _Begun(
            self._tracer.start_span(
                name, _below(parent), kind=SpanKind.CONSUMER, attributes=attributes
            )
        )

    def batch(
        self, name: str, members: Sequence[TraceContext], began_ns: int, attributes: Attributes
    ) -> None:
        """Record a span from ``began_ns`` to now over ``members``."""
        sampled = [member for member in members if member.flags & TraceFlags.SAMPLED][:MAX_LINKS]
        if not sampled:
            return
        span = self._tracer.start_span(
            name,
            _below(sampled[0]) if len(sampled) == 1 else Context(),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[Link(_remote(member)) for member in sampled],
            start_time=began_ns,
        )
        span.end()

    def flush(self) -> None:
        """Send what has not been sent, for FLUSH_S at most."""
        # Its own time limit is not kept while a request is under way.
        sending = threading.Thread(target=self._provider.force_flush, daemon=True)
        sending.start()
        sending.join(FLUSH_S)


class _Begun:
    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        made = span.get_span_context()
        self.context = TraceContext(
            f"00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}",
            made.trace_state.to_header(),
        )

    def end(self) -> None:
        self._span.end()


def exported(service: str, environ: Mapping[str, str]) -> Spans:
    """Return spans sent where OTEL_* variables say."""
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = Resource.create({} if named else {SERVICE_NAME: f"baton-{service}"})
    return Spans(BatchSpanProcessor(OTLPSpanExporter()), resource)


def _below(parent: TraceContext) -> Context:
    return set_span_in_context(NonRecordingSpan(_remote(parent)), Context())


def _remote(context: TraceContext) -> SpanContext:
    return SpanContext(
        int(context.trace_id, 16),
        int(context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(context.flags),
        trace_state=TraceState.from_header([context.tracestate]),
    )
