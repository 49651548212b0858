"""What a process says while its broker is away."""

import logging

from telemetry import logs


def record(name, text, *filled):
    return logging.LogRecord(name, logging.ERROR, __file__, 1, text, filled, None)


def test_a_library_that_repeats_itself_is_heard_once_in_a_while(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    repeats = logs.Repeats()
    unable = [record("aiokafka", "Unable connect to node %s", n) for n in range(50)]
    assert [repeats.filter(one) for one in unable] == [True] + 49 * [False]
    assert repeats.filter(record("aiokafka", "another thing"))
    now[0] += logs.QUIET_S
    last = record("aiokafka", "Unable connect to node %s", 7)
    assert repeats.filter(last)
    assert last.getMessage() == "Unable connect to node 7 (49 more like it)"


def test_every_line_of_our_own_is_heard():
    repeats = logs.Repeats()
    assert all(repeats.filter(record("worker.owner", "owner stands")) for _ in range(3))
