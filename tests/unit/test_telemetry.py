"""What operators see of a process: metrics, health, and their settings."""

import asyncio
import http.client
import json
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import SettingsError
from schemas.events import EventName
from schemas.scoring import ScoringCode
from schemas.topics import Topics
from scoring.codecs import wml
from scoring.codecs.request import Request
from scoring.codecs.tables import Prediction, Served
from scoring.errors import ScoringError
from scoring.metrics import ScoringMetrics
from scoring.observation import Observation
from scoring.quarantine import FIRST_S, Quarantine
from scoring.replies import Replies
from scoring.scorer import Owed
from telemetry.health import Health
from telemetry.metrics import MANY, Deployments, Latencies, show_health
from telemetry.server import serve
from telemetry.settings import TelemetrySettings
from telemetry.tracing import Tracing
from tests.support import DEADLINE_S
from tests.unit.test_scorer import Record
from worker.metrics import Tally, WorkerMetrics


def shown(registry):
    """Every sample of a registry: by name, or by name and the values of its labels."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def get(port, path):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.fixture
def serving():
    """A served process: its health, and its port."""
    health = Health()
    registry = CollectorRegistry()
    show_health(registry, health)
    server = serve(TelemetrySettings(port=0), health, registry)
    yield health, server.server_port
    server.shutdown()
    server.server_close()


def test_a_process_is_ready_only_between_its_start_and_its_stop(serving):
    health, port = serving
    stages = []
    for step in (lambda: None, health.ready, health.stopping, health.ready):
        step()
        status, body = get(port, "/health/ready")
        ready = b"baton_ready 1.0" in get(port, "/metrics")[1]
        assert ready == (status == 200)
        stages.append((status, json.loads(body)["stage"]))
    # A partition assigned while it stops makes it ready no more.
    assert stages == [(503, "starting"), (200, "ready"), (503, "stopping"), (503, "stopping")]


def test_the_ready_file_appears_with_readiness_and_a_predecessors_does_not_count(tmp_path):
    file = tmp_path / "ready"
    file.touch()
    health = Health(file)
    assert not file.exists()
    health.ready()
    assert file.exists()


async def test_a_process_whose_event_loop_hangs_is_not_alive(serving):
    health, port = serving
    assert (await asyncio.to_thread(get, port, "/health/live"))[0] == 200
    health.watch(asyncio.get_running_loop())
    assert (await asyncio.to_thread(get, port, "/health/live"))[0] == 200
    found = []
    asked = threading.Thread(target=lambda: found.append(health.alive(0.05)))
    asked.start()
    # The loop waits here, as it would in a call that never ends.
    asked.join()
    assert found == [False]


def test_a_client_that_says_nothing_holds_up_nobody(serving, monkeypatch):
    _, port = serving
    monkeypatch.setattr("telemetry.server._Handler.timeout", 2 * DEADLINE_S)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as silent:
        silent.connect()
        assert get(port, "/health/live")[0] == 200
    assert get(port, "/")[0] == 404


def test_a_port_that_is_taken_is_named_with_the_way_out(serving):
    _, port = serving
    with pytest.raises(SettingsError, match=f"BATON_METRICS_PORT.*127.0.0.1:{port}.*0 picks one"):
        serve(TelemetrySettings(port=port), Health(), CollectorRegistry())


def test_nothing_is_served_unless_a_port_is_set():
    assert serve(TelemetrySettings.from_env({}), Health(), CollectorRegistry()) is None
    given = {"BATON_METRICS_PORT": "9464", "BATON_METRICS_HOST": ""}
    assert TelemetrySettings.from_env(given) == TelemetrySettings("127.0.0.1", 9464)
    for wrong in ("65536", "-1", "http"):
        with pytest.raises(SettingsError, match="BATON_METRICS_PORT must be a whole number from 0"):
            TelemetrySettings.from_env({"BATON_METRICS_PORT": wrong})


@pytest.mark.parametrize("count", [1, MANY - 1, MANY, 1000])
def test_a_batch_of_latencies_is_counted_as_one_by_one(count):
    registry = CollectorRegistry()
    latencies = Latencies("x", "x", registry, bounds=(0.01, 0.1, 1.0))
    # On an edge, between two, past the last, and from a clock that goes ahead.
    ages = [(10, 50, 5000, -3)[number % 4] for number in range(count)]
    latencies.observe_ms(1_000_000, [1_000_000 - age for age in ages])
    latencies.observe_ms(1_000_000, [])
    found = shown(registry)
    expected = [max(age, 0) / 1000 for age in ages]
    for edge in ("0.01", "0.1", "1.0", "+Inf"):
        below = sum(seconds <= float(edge) for seconds in expected)
        assert found["x_bucket", edge] == below
    assert found["x_count",] == count
    assert found["x_sum",] == pytest.approx(sum(expected))


def test_only_the_deployments_answered_last_have_series_of_their_own():
    registry = CollectorRegistry()
    deployments = Deployments(registry, 2)
    for name, revision in (("a", 1), ("b", 1), ("a", 2), ("c", 7)):
        deployments.answered(name, revision, 10)
    assert shown(registry) == {
        ("baton_deployment_answers_total", "a"): 20,
        ("baton_deployment_answers_total", "c"): 10,
        ("baton_deployment_revision", "a"): 2,
        ("baton_deployment_revision", "c"): 7,
    }


def test_a_partition_that_went_to_another_process_has_no_lag_here():
    metrics = WorkerMetrics()
    metrics.lag.show({0: 3, 1: 4})
    metrics.lag.show({1: 5})
    found = shown(metrics.registry)
    assert found["baton_worker_lag_commands", "1"] == 5
    assert ("baton_worker_lag_commands", "0") not in found


def test_answers_are_counted_by_what_they_say():
    replies = Replies(Topics())
    served = Served("d", "a", 1)
    requests = [Request(Record(n, "d"), f"r{n}", "d", wml, []) for n in range(4)]
    slow = ScoringError(ScoringCode.DEADLINE_EXCEEDED, "too late")
    writes = [
        replies.answer(requests[0], served, [Prediction([1], None)]),
        replies.answer(requests[1], served, [Prediction([object()], None)]),
        replies.refuse(requests[2], slow, served),
        replies.refuse(requests[3], None),
        replies.dead_letter(Record(4, "d"), "cannot be read"),
    ]
    metrics = ScoringMetrics()
    metrics.committed(writes, [time.time_ns() // 1_000_000] * 5, 0.02)
    found = shown(metrics.registry)
    counted = {
        key[1]: value for key, value in found.items() if key[0] == "baton_scoring_answers_total"
    }
    # All are there from the start, so that a first error has a rate.
    assert set(counted) == {"ok", *ScoringCode}
    assert {outcome: count for outcome, count in counted.items() if count} == {
        "ok": 1,
        "model_error": 1,
        "deadline_exceeded": 1,
        "invalid_request": 1,
    }
    assert found["baton_scoring_dead_letters_total",] == 1
    assert found["baton_scoring_latency_seconds_count",] == 5
    assert found["baton_scoring_transaction_seconds_count",] == 1


def test_crashes_and_quarantine_are_counted():
    now = [100.0]
    metrics = ScoringMetrics()
    quarantine = Quarantine(lambda: now[0], metrics=metrics)
    quarantine.died("a", "segfault")
    quarantine.overdue("b", "no answer")
    found = shown(metrics.registry)
    assert found["baton_scoring_model_process_ends_total", "died"] == 1
    assert found["baton_scoring_model_process_ends_total", "overdue"] == 1
    assert found["baton_scoring_models_quarantined",] == 1
    now[0] += FIRST_S + 1
    assert shown(metrics.registry)["baton_scoring_models_quarantined",] == 0


def test_a_workers_transaction_is_counted():
    metrics = WorkerMetrics()
    tally = Tally(dead_letters=2)
    tally.commands["replace-asset", "accepted"] = 3
    tally.events[EventName.UPDATE_STARTED] = 3
    metrics.committed(tally, 0.01)
    metrics.applied([time.time_ns() // 1_000_000] * 5)
    metrics.verified(1.5, passed=False)
    found = shown(metrics.registry)
    assert found["baton_worker_commands_total", "replace-asset", "accepted"] == 3
    assert found["baton_worker_events_total", "update-started"] == 3
    assert found["baton_worker_dead_letters_total",] == 2
    assert found["baton_worker_latency_seconds_count",] == 5
    assert found["baton_worker_verification_seconds_count", "failed"] == 1


async def test_a_request_is_counted_once_its_answer_is_in_the_log_however_late():
    metrics = ScoringMetrics()
    observed = Observation(TopicPartition("requests", 0), metrics, Tracing())
    now = time.time_ns() // 1_000_000
    # Far apart: a slow machine takes its time between two lines.
    ages = (0, 0, 0, 1_000_000)
    batch = [
        SimpleNamespace(offset=number, timestamp=now - age, headers=())
        for number, age in enumerate(ages)
    ]
    late = Owed(frozenset({1, 3}), 0)

    def counted():
        found = shown(metrics.registry)
        name = "baton_scoring_latency_seconds"
        return found[f"{name}_count",], found[f"{name}_bucket", "60.0"]

    observed.fetched(batch)
    observed.scored(batch, [late])
    assert counted() == (0, 0)
    observed.committed([], 0.0)
    assert counted() == (2, 2)
    observed.caught_up(late)
    assert counted() == (2, 2)
    observed.committed([], 0.0)
    assert counted() == (4, 3)
    assert shown(metrics.registry)["baton_scoring_batch_requests_sum",] == 4
