"""A trace that came with a message goes on with what the message gives rise to."""

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from schemas.cloudevents import CloudEvent, decode, encode
from schemas.records import CursorRecord, decode_record
from schemas.topics import Topics
from schemas.traces import TraceContext, trace_of
from scoring.codecs import request as requests
from scoring.codecs.tables import Prediction, Served
from scoring.replies import Replies
from telemetry import spans as spans_module
from telemetry import tracing
from telemetry.spans import Spans, exported
from telemetry.tracing import MAX_LINKS, Tracing, contexts, current, start_tracing
from tests.support import DEADLINE_S
from tests.unit.test_batch import HOME, batch_over, message
from tests.unit.test_decide import NOW, OK, RULES, Lab
from tests.unit.test_scorer import Record
from worker.batch import Batch
from worker.lifecycle.outcome import conclude
from worker.lifecycle.view import View

ROOT = Path(__file__).parents[2]
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
HEADERS = (("traceparent", PARENT.encode()), ("tracestate", b"vendor=1"))
CONTEXT = TraceContext(PARENT, "vendor=1")


def numbered(number, flags="01"):
    return TraceContext(f"00-{TRACE_ID}-{number:016x}-{flags}")


def traced(headers):
    return {name: value for name, value in headers if name.startswith("trace")}


@pytest.fixture
def spans():
    """Spans that are kept here instead of being sent, and where they are kept."""
    kept = InMemorySpanExporter()
    return Spans(SimpleSpanProcessor(kept), Resource.create({})), kept


@pytest.mark.parametrize(
    "parent",
    [
        None,
        b"",
        b"garbage",
        PARENT.encode() + b"-more",
        PARENT.upper().encode(),
        b"ff" + PARENT[2:].encode(),
        f"00-{'0' * 32}-{SPAN_ID}-01".encode(),
        f"00-{TRACE_ID}-{'0' * 16}-01".encode(),
    ],
)
def test_a_trace_that_is_none_is_left_out_and_hurts_nobody(parent):
    assert trace_of(parent, b"vendor=1") is None
    request = requests.decode(Record(0, "d", traceparent=(parent or b"").decode()))
    assert (request.error, request.trace) == (None, ())


def test_a_tracestate_that_is_none_leaves_the_trace():
    assert trace_of(PARENT.encode(), None) == TraceContext(PARENT)
    assert trace_of(PARENT.encode(), b"x" * 513) == TraceContext(PARENT)
    assert trace_of(PARENT.encode(), "ü=1".encode()) == TraceContext(PARENT)


def test_a_command_carries_its_trace_in_headers_or_as_cloudevents_extension():
    attributes = {"specversion": "1.0", "id": "c", "source": "/t", "type": "t"}
    headers, value = encode(CloudEvent(attributes, {}, CONTEXT))
    assert traced(headers) == dict(HEADERS)
    assert decode(headers, value).trace == CONTEXT
    extension = attributes | {"traceparent": PARENT, "tracestate": "vendor=1"}
    headers, value = encode(CloudEvent(extension, {}))
    assert decode(headers, value).trace == CONTEXT
    assert decode([*headers, ("traceparent", b"\xc3\xbc")], value).trace is None


def test_every_event_of_a_command_carries_its_trace_even_if_another_worker_ends_it():
    lab = Lab()
    deployment = lab.ready()
    batch = batch_over(lab)
    replace = {"space_id": "s", "deployment_id": deployment, "asset_id": "b"}
    batch.add(message("replace-asset", headers=HEADERS, **replace))
    batch.add(message("delete-asset", "d", headers=HEADERS, space_id="s", asset_id="none"))
    batch.add(message("delete-asset", "e", space_id="s", asset_id="none"))
    writes = [*batch.writes(CursorRecord(offset=7, sequence=3))]
    started, refused, untraced = [w for w in writes if w.topic.endswith("events")]
    assert traced(started.headers) == traced(refused.headers) == dict(HEADERS)
    assert traced(untraced.headers) == {}
    # A successor knows no more than the records.
    successor = View()
    for write in writes:
        if write.topic.endswith("state") and write.key != b"cursor":
            key = write.key.decode()
            successor.put(key, decode_record(key, write.value))
    (work,) = successor.pending_work()
    assert (work.trace, work.command_id) == (CONTEXT, "c")
    (ended,) = conclude(successor, work, OK, NOW).events
    assert ended.name == "deployment-updated"
    assert ended.trace == CONTEXT


def test_a_dry_run_ends_with_its_trace():
    lab = Lab()
    deployment = lab.ready()
    batch = batch_over(lab)
    dry = {"space_id": "s", "deployment_id": deployment, "asset_id": "b", "dry_run": True}
    batch.add(message("replace-asset", headers=HEADERS, **dry))
    (work,) = batch.work
    (ended,) = conclude(batch.view, work, OK, NOW).events
    assert (ended.name, ended.trace) == ("update-checked", CONTEXT)


def test_an_answer_carries_the_trace_of_its_request():
    replies = Replies(Topics())
    request = requests.decode(Record(0, "d", traceparent=PARENT, tracestate="vendor=1"))
    served = Served("d", "a", 1)
    answer = replies.answer(request, served, [Prediction([1], None)])
    assert traced(answer.headers) == dict(HEADERS)
    assert traced(replies.refuse(request, None, served).headers) == dict(HEADERS)
    plain = requests.decode(Record(1, "d"))
    assert traced(replies.answer(plain, served, [Prediction([1], None)]).headers) == {}


def test_a_command_is_a_span_and_its_events_descend_from_it(spans):
    made, kept = spans
    lab = Lab()
    batch = Batch(Topics(control=2), RULES, HOME, lab.view, 0, tracing=made)
    batch.add(message("create-space", "a", headers=HEADERS, space_id="s", name="S"))
    batch.add(message("create-space", "b", space_id="s", name="S"))
    (begun,) = batch.spans
    assert kept.get_finished_spans() == ()
    begun.end()
    (span,) = kept.get_finished_spans()
    assert span.name == "apply create-space"
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE_ID, SPAN_ID)
    assert span.attributes["baton.command_id"] == "a"
    event = next(w for w in batch.writes(CursorRecord(offset=7, sequence=1)))
    (told,) = [decode(event.headers, event.value).trace]
    assert (told.trace_id, told.span_id) == (TRACE_ID, f"{span.context.span_id:016x}")
    assert told.tracestate == "vendor=1"


def test_a_batch_is_one_span_linked_to_no_more_traces_than_allowed(spans):
    made, kept = spans
    members = [numbered(number) for number in range(1, MAX_LINKS + 50)]
    made.batch("score", members, 1, {"messaging.batch.message_count": 9})
    (span,) = kept.get_finished_spans()
    assert len(span.links) == MAX_LINKS
    assert span.parent is None
    assert span.start_time == 1
    assert f"{span.links[0].context.span_id:016x}" == members[0].span_id


def test_a_batch_with_one_traced_request_is_a_span_of_its_trace(spans):
    made, kept = spans
    made.batch("score", [numbered(1, "00"), numbered(2)], 1, {})
    (span,) = kept.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert span.parent.span_id == 2


def test_a_batch_nobody_samples_is_no_span(spans):
    made, kept = spans
    made.batch("score", [], 1, {})
    made.batch("score", [numbered(1, "00")], 1, {})
    assert kept.get_finished_spans() == ()


def test_the_traces_of_a_batch_are_the_first_and_bounded():
    plain = SimpleNamespace(headers=(("request-id", b"r"),))
    wrong = SimpleNamespace(headers=(("traceparent", b"x"),))
    right = SimpleNamespace(headers=HEADERS)
    assert contexts([plain, wrong, right]) == [CONTEXT]
    assert len(contexts([right] * (MAX_LINKS + 5))) == MAX_LINKS


def test_a_client_carries_on_the_span_that_is_current():
    assert current() is None
    tracer = TracerProvider().get_tracer("a program")
    with tracer.start_as_current_span("request") as span:
        told = current()
    context = span.get_span_context()
    assert (told.trace_id, told.span_id, told.flags) == (
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        context.trace_flags,
    )
    with otel.use_span(otel.NonRecordingSpan(otel.INVALID_SPAN_CONTEXT)):
        assert current() is None


def test_nothing_of_opentelemetry_is_imported_where_nobody_asked_for_it():
    code = (
        "import sys, worker.__main__, scoring.__main__, client\n"
        "from telemetry.tracing import current, start_tracing\n"
        "assert not start_tracing('worker', {}).enabled\n"
        "assert current() is None\n"
        "found = [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "assert not found, found\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1", "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_no_spans_are_made_unless_opentelemetry_says_where_to(environ):
    assert type(start_tracing("worker", environ)) is Tracing


def test_spans_without_the_extra_are_warned_of(monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, "telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    assert type(tracing.start_tracing("worker", given)) is Tracing
    assert "install baton[telemetry]" in caplog.text


def test_a_collector_that_is_away_does_not_keep_a_process_from_its_end(monkeypatch):
    never = threading.Event()
    made = Spans(
        SimpleNamespace(on_start=print, on_end=print, force_flush=lambda *_: never.wait()),
        Resource.create({}),
    )
    monkeypatch.setattr(spans_module, "FLUSH_S", 0.05)
    given_up = threading.Timer(DEADLINE_S, never.set)
    given_up.start()
    made.flush()
    assert not never.is_set()
    given_up.cancel()
    never.set()


@pytest.mark.parametrize(
    ("environ", "name"), [({}, "baton-scoring"), ({"OTEL_SERVICE_NAME": "mine"}, "mine")]
)
def test_the_service_bears_its_name_or_the_given_one(monkeypatch, environ, name):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    made = exported("scoring", environ)
    resource = made._provider.resource
    assert resource.attributes["service.name"] == name
    made._provider.shutdown()
