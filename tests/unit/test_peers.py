import json
import re
import sys

import psutil
import pytest

from bench import models, peers
from bench.peers import OWN_ENVIRONMENT, PEERS, environments, kstreams, request
from tests.support import until
from transport.settings import Settings

NAMES = ["ceiling", "confluent", "kstreams", "kstreams-10ms", "faust", "quix", "mlserver"]


def test_the_peers_are_those_that_baton_is_compared_with():
    assert list(PEERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_peer_says_what_it_is_and_what_it_lacks(name):
    peer = PEERS[name]
    assert peer.name == name
    assert peer.title
    assert peer.lacks
    assert peer.guarantee in {"exactly once", "at least once", "at most once"}


@pytest.mark.parametrize("name", NAMES)
def test_every_peer_is_asked_for_the_same_numbers(name):
    value, headers = request(name, ["a", "b"], [0.25, 3.0])
    body = json.loads(value)
    if name == "mlserver":
        assert body["inputs"][0]["data"] == [0.25, 3.0]
    else:
        assert body == {"input_data": [{"fields": ["a", "b"], "values": [[0.25, 3.0]]}]}
    assert "deployment-id" in dict(headers)


@pytest.mark.parametrize("lock", sorted(set(OWN_ENVIRONMENT.values())))
def test_every_environment_is_pinned_by_digest_and_names_no_index(lock):
    text = (environments.HERE / f"{lock}.lock").read_text()
    pins = re.findall(r"^\S+==\S+.*$", text, re.MULTILINE)
    assert pins
    assert all(pin.endswith("\\") for pin in pins)
    assert "://" not in text


def test_the_jars_of_kafka_streams_are_known_by_digest():
    assert re.search(
        r"^[0-9a-f]{64}  kafka-streams-", kstreams.STREAMS.digests.read_text(), re.MULTILINE
    )


def test_a_peer_that_dies_tells_the_end_of_its_log(monkeypatch, tmp_path):
    script = "print('its last words'); raise SystemExit(3)"
    monkeypatch.setattr(peers, "_command", lambda *_: ([sys.executable, "-c", script], {}))
    settings = Settings("127.0.0.1:1", app="dying")
    log = tmp_path / "dying-ceiling" / "log.txt"
    with (
        pytest.raises(RuntimeError, match=r"status 3(.|\n)*its last words"),
        peers.running("ceiling", settings, tmp_path / "none", tmp_path),
    ):
        until(lambda: "words" in log.read_text() and not _lives(script), "it has died")


def test_a_peer_that_runs_ends_with_the_block_and_so_do_its_processes(monkeypatch, tmp_path):
    script = (
        "import signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    )
    monkeypatch.setattr(peers, "_command", lambda *_: ([sys.executable, "-c", script], {}))
    monkeypatch.setattr(peers, "STOP_S", 0.1)
    log = tmp_path / "stubborn-ceiling" / "log.txt"
    settings = Settings("127.0.0.1:1", app="stubborn")
    with peers.running("ceiling", settings, tmp_path / "none", tmp_path):
        until(lambda: log.read_text().endswith("\n"), "it runs")
    until(
        lambda: not _lives(script) and not _lives("sleep", int(log.read_text())), "both have ended"
    )


def test_a_saved_model_is_the_same_each_time(tmp_path):
    first = models.save("logistic", tmp_path).read_bytes()
    assert models.save("logistic", tmp_path).read_bytes() == first


def _lives(word, pid=None):
    """Whether a process runs that was started with ``word``, or the one of ``pid``."""
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        if pid in {None, process.info["pid"]} and word in (process.info["cmdline"] or []):
            return True
    return False
