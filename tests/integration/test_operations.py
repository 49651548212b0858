"""What operators see of a real worker and a real agent: metrics, health, logs and traces."""

import asyncio
import http.client
import http.server
import json
import re
import threading
import uuid
from contextlib import closing

import pytest
from aiokafka import AIOKafkaProducer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.parser import text_string_to_metric_families

from client import BatonClient, CommandRejected, ScoringClient, ScoringError
from tests.support import DEADLINE_S, Process, Stack, eventually, new_settings, read_all, until

pytestmark = pytest.mark.broker


class Collector:
    """An OTLP receiver on loopback: keeps the spans that it is sent."""

    def __init__(self):
        self.spans = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                    attributes = {a.key: a.value.string_value for a in sent.resource.attributes}
                    for scope in sent.scope_spans:
                        collector.spans += [
                            (attributes["service.name"], span) for span in scope.spans
                        ]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def named(self, service, name, trace_id):
        return [
            span
            for sender, span in self.spans
            if (sender, span.name, span.trace_id.hex()) == (service, name, trace_id)
        ]

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Watched:
    """A process and what it shows of itself."""

    def __init__(self, process):
        self.process = process

    @property
    def port(self):
        return int(re.search(r"metrics on http://127.0.0.1:(\d+)/metrics", self.log())[1])

    def log(self):
        return self.process.log.read_text()

    def get(self, path):
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def metrics(self):
        found = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                found[(sample.name, *sample.labels.values())] = sample.value
        return found


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
async def operated(bootstrap_servers, collector, tmp_path_factory):
    """A worker, an agent, and clients of them."""
    folder = tmp_path_factory.mktemp("operated")
    settings = new_settings(bootstrap_servers, folder)
    env = {
        "BATON_METRICS_PORT": "0",
        "BATON_LOG_FORMAT": "json",
        "BATON_METRIC_PORT": "1",
        "BATON_REVISION_WAIT_MS": str(int(DEADLINE_S * 1000)),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    started = [Process(module, settings, folder, **env) for module in ("worker", "scoring")]
    try:
        worker, scoring = [Watched(process.ready()) for process in started]
        async with (
            BatonClient(settings, source="/test", timeout_s=DEADLINE_S) as baton,
            ScoringClient(settings, timeout_s=DEADLINE_S) as asking,
        ):
            yield worker, scoring, Stack(settings, folder, baton, asking)
    finally:
        for process in started:
            if process.popen.poll() is None:
                process.kill()


async def test_metrics_say_what_worker_and_agent_did(operated):
    worker, scoring, stack = operated
    space, deployment, (_, two) = await stack.deployed("binary", "binary")
    for _ in range(5):
        await stack.scoring.score(deployment, [[1.0, 2.0, 3.0]])
    with pytest.raises(ScoringError):
        await stack.scoring.score(deployment, [["text", 2.0, 3.0]])
    with pytest.raises(ScoringError):
        await stack.scoring.score("none", [[1.0, 2.0, 3.0]])
    # Passed over until the deployment is at that revision: it is answered late.
    late = asyncio.create_task(stack.scoring.score(deployment, [[1.0, 2.0, 3.0]], min_revision=2))
    await stack.scoring.score(deployment, [[1.0, 2.0, 3.0]])
    await stack.baton.replace_asset(space, deployment, two)
    assert (await late).revision == 2
    with pytest.raises(CommandRejected):
        await stack.baton.replace_asset(space, deployment, "none")
    settings = stack.settings
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        for topic in (settings.topics.commands, settings.topics.requests):
            await producer.send_and_wait(topic.name, b"nothing", partition=0)

    expected = {
        ("baton_worker_dead_letters_total",): 1,
        ("baton_worker_lag_commands", "0"): 0,
        ("baton_worker_lag_commands", "1"): 0,
        ("baton_scoring_dead_letters_total",): 1,
        ("baton_scoring_lag_requests", "0"): 0,
        ("baton_scoring_lag_requests", "1"): 0,
        ("baton_scoring_late_requests",): 0,
    }

    async def all_told():
        # What is behind is looked at every five seconds.
        return expected.items() <= (worker.metrics() | scoring.metrics()).items()

    await eventually(all_told, "dead letters and lag in the metrics")
    told = worker.metrics()
    for outcome, count in {"accepted": 1, "done": 1, "asset_not_found": 1}.items():
        assert told["baton_worker_commands_total", "replace-asset", outcome] == count
    assert told["baton_worker_events_total", "deployment-updated"] == 1
    assert told["baton_worker_verification_seconds_count", "passed"] == 2
    assert told["baton_worker_partitions",] == 2
    assert told["baton_worker_transaction_seconds_count",] >= 8
    assert told["baton_worker_latency_seconds_count",] == 7
    assert told["baton_ready",] == 1
    told = scoring.metrics()
    assert told["baton_scoring_answers_total", "ok"] == 7
    assert told["baton_scoring_answers_total", "schema_mismatch"] == 1
    assert told["baton_scoring_answers_total", "deployment_not_found"] == 1
    assert told["baton_scoring_latency_seconds_count",] == 10
    assert 0 < told["baton_scoring_latency_seconds_sum",] < 10 * DEADLINE_S
    assert told["baton_deployment_revision", deployment] == 2
    assert told["baton_deployment_answers_total", deployment] == 8
    assert told["baton_scoring_model_loads_total",] == 1
    assert told["baton_scoring_partitions",] == 2
    assert told["process_open_fds",] > 0


async def test_a_trace_goes_from_a_command_to_its_events_and_from_a_request_to_its_answer(
    operated, collector
):
    _, _, stack = operated
    tracer = TracerProvider().get_tracer("the test")
    with tracer.start_as_current_span("deploy") as span:
        space, deployment, (asset,) = await stack.deployed("binary")
        command = str(uuid.uuid4())
        await stack.baton.create_deployment(space, asset, "again", command_id=command)
    deploying = f"{span.get_span_context().trace_id:032x}"
    with tracer.start_as_current_span("ask") as span:
        await stack.scoring.score(deployment, [[1.0, 2.0, 3.0]], request_id="traced")
    asking = span.get_span_context()
    await stack.scoring.score(deployment, [[1.0, 2.0, 3.0]], request_id="untraced")

    events = [
        dict(record.headers)
        for record in await read_all(stack.settings, stack.settings.topics.events)
        if dict(record.headers)["ce_causationid"] == command.encode()
    ]
    kinds = [headers["ce_type"].decode().split(".")[2] for headers in events]
    assert kinds == ["update-started", "deployment-created"]
    assert {headers["traceparent"].decode().split("-")[1] for headers in events} == {deploying}
    answers = {
        dict(record.headers)["request-id"]: dict(record.headers)
        for record in await read_all(stack.settings, stack.settings.topics.responses)
    }
    # The answer descends from whoever asked, whatever batch it was in.
    assert answers[b"traced"]["traceparent"].decode().split("-")[1:3] == [
        f"{asking.trace_id:032x}",
        f"{asking.span_id:016x}",
    ]
    assert "traceparent" not in answers[b"untraced"]

    async def collected():
        return (
            len(collector.named("baton-worker", "apply create-deployment", deploying)) == 2
            and len(collector.named("baton-worker", "verify", deploying)) == 2
            and collector.named("baton-scoring", "score", f"{asking.trace_id:032x}")
        )

    await eventually(collected, "the spans of worker and agent")
    applied = collector.named("baton-worker", "apply create-deployment", deploying)
    made = {span.span_id.hex() for span in applied}
    # What the command gave rise to descends from its application.
    assert {headers["traceparent"].decode().split("-")[2] for headers in events} < made
    assert {
        span.parent_span_id.hex() for span in collector.named("baton-worker", "verify", deploying)
    } == made
    (scored,) = collector.named("baton-scoring", "score", f"{asking.trace_id:032x}")
    assert scored.parent_span_id.hex() == f"{asking.span_id:016x}"


def test_each_line_of_the_log_is_json_with_its_ids(operated):
    worker, scoring, _ = operated
    for service in (worker, scoring):
        lines = [json.loads(line) for line in service.log().splitlines()]
        assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
        warned = [line["message"] for line in lines if line["level"] == "WARNING"]
        assert (
            "BATON_METRIC_PORT is no setting of Baton: did you mean BATON_METRICS_PORT?" in warned
        )
    lines = [json.loads(line) for line in worker.log().splitlines()]
    (standing, _) = [line for line in lines if line["message"].startswith("owner stands")]
    assert {"partition", "offset"} <= set(standing)
    verified = [line for line in lines if line["message"].startswith("verification passed")]
    assert all({"command_id", "deployment_id", "partition"} <= set(line) for line in verified)
    assert any("trace_id" in line for line in verified)


# Last: it ends them.
def test_a_process_that_is_told_to_stop_is_no_more_ready_before_it_ends(operated):
    for service in operated[:2]:
        port = service.port
        assert service.get("/health/live")[0] == 200
        assert service.get("/health/ready")[0] == 200
        stages = []

        def polled(port=port, stages=stages):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                with closing(connection):
                    connection.request("GET", "/health/ready")
                    answer = connection.getresponse()
                    stages.append((answer.status, json.loads(answer.read())["stage"]))
            except OSError:
                return True
            return False

        service.process.popen.terminate()
        until(polled, "the end of the process", service.process.tail)
        assert service.process.popen.wait(DEADLINE_S) == 0
        first = stages.index((503, "stopping"))
        assert set(stages[first:]) == {(503, "stopping")}
        assert set(stages[:first]) <= {(200, "ready")}
