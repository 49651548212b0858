"""What a process says: to people and to machines, and while its broker is away."""

import json
import logging

import pytest

from telemetry import logs
from worker.__main__ import main


def record(name, text, *filled):
    return logging.LogRecord(name, logging.ERROR, __file__, 1, text, filled, None)


@pytest.mark.parametrize("library", ["aiokafka", "opentelemetry.exporter.otlp"])
def test_a_library_that_repeats_itself_is_heard_once_in_a_while(monkeypatch, library):
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    repeats = logs.Repeats()
    unable = [record(library, "Unable connect to node %s", n) for n in range(50)]
    assert [repeats.filter(one) for one in unable] == [True] + 49 * [False]
    assert repeats.filter(record(library, "another thing"))
    now[0] += logs.QUIET_S
    last = record(library, "Unable connect to node %s", 7)
    assert repeats.filter(last)
    assert last.getMessage() == "Unable connect to node 7 (49 more like it)"


def test_every_line_of_our_own_is_heard():
    repeats = logs.Repeats()
    assert all(repeats.filter(record("worker.owner", "owner stands")) for _ in range(3))


def test_a_json_line_has_the_ids_that_it_speaks_of():
    made = record("worker.owner", "verified %s", "d-1")
    made.created = 1_764_000_000.25
    made.deployment_id, made.partition, made.level = "d-1", 3, "never over the line's own"
    assert json.loads(logs.JsonLines().format(made)) == {
        "time": "2025-11-24T16:00:00.250Z",
        "level": "ERROR",
        "logger": "worker.owner",
        "message": "verified d-1",
        "deployment_id": "d-1",
        "partition": 3,
    }


def test_a_json_line_stays_one_line_whatever_is_in_it():
    error = ValueError("two\nlines")
    info = (ValueError, error, None)
    made = logging.LogRecord("x", 40, __file__, 1, "a\nb \ud800", (), info)
    made.what = object()
    line = logs.JsonLines().format(made)
    assert "\n" not in line
    assert line.isascii()
    told = json.loads(line)
    assert told["message"] == "a\nb \ud800"
    assert told["exception"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize(
    ("name", "text"), [("BATON_LOG_FORMAT", "xml"), ("BATON_LOG_LEVEL", "LOUD")]
)
def test_a_process_with_a_wrong_setting_of_its_log_ends_with_a_line_that_names_it(
    name, text, monkeypatch, capsys
):
    monkeypatch.setenv(name, text)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 78
    told = capsys.readouterr().err
    assert told.startswith(f"baton worker: {name} is ")
    assert told.count("\n") == 1
