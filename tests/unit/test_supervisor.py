"""The child processes of ``baton up``, with small programs in place of the services."""

import os
import sys
import threading

import pytest

from client.supervisor import Supervisor, SupervisorError, metrics_ports
from schemas.errors import SettingsError
from tests.support import until
from transport.settings import Settings

SERVES = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (log("stopped"), sys.exit(0)))
def log(what):
    with open(sys.argv[1], "a") as file:
        file.write(f"{sys.argv[2]} {what}\\n")
log("started")
pathlib.Path(os.environ["BATON_READY_FILE"]).touch()
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def diary(tmp_path):
    path = tmp_path / "diary"
    path.touch()
    return path


def new(tmp_path, diary, said, **programs):
    commands = {
        name: [sys.executable, "-c", program, str(diary), name]
        for name, program in programs.items()
    }
    return Supervisor(Settings("127.0.0.1:1"), tmp_path / "logs", said.append, commands)


def test_it_starts_restarts_and_stops_in_order(tmp_path, diary):
    said = []
    supervisor = new(tmp_path, diary, said, one=SERVES, two=SERVES)
    supervisor.start()
    assert supervisor.wait_until_ready(threading.Event())
    dead = supervisor.pids["one"]
    os.kill(dead, 9)

    def restarted():
        supervisor.restart_the_dead()
        return supervisor.pids.get("one", dead) != dead

    until(restarted, "it is restarted")
    assert "the one ended (killed by SIGKILL): restarting in 0.5 s" in said[0]
    until(lambda: diary.read_text().count("one started") == 2, "it has started again")
    supervisor.stop()
    assert diary.read_text().splitlines()[-2:] == ["two stopped", "one stopped"]
    assert supervisor.pids == {}


def test_one_that_ends_at_once_is_told_with_its_last_words(tmp_path, diary):
    supervisor = new(tmp_path, diary, [], one="import sys; sys.exit('no such setting')")
    supervisor.start()
    with pytest.raises(SupervisorError, match="the one ended at once:\nno such setting"):
        supervisor.wait_until_ready(threading.Event())
    supervisor.stop()


def test_a_wait_can_be_ended(tmp_path, diary):
    supervisor = new(tmp_path, diary, [], one="import time; time.sleep(99)")
    supervisor.start()
    stop = threading.Event()
    stop.set()
    assert not supervisor.wait_until_ready(stop)
    supervisor.stop()


def test_one_that_keeps_dying_is_given_ever_longer_pauses(tmp_path, diary):
    said = []
    supervisor = new(tmp_path, diary, said, one="raise SystemExit(3)")
    supervisor.start()

    def three_times():
        supervisor.restart_the_dead()
        return len(said) == 3

    until(three_times, "it has died three times")
    pauses = [line.partition("restarting in ")[2].split()[0] for line in said]
    assert pauses == ["0.5", "1", "2"]
    assert all("exit status 3" in line for line in said)
    supervisor.stop()


def test_one_that_does_not_stop_is_killed(tmp_path, diary, monkeypatch):
    monkeypatch.setattr("client.supervisor.STOP_TIMEOUT_S", 0.3)
    said = []
    stubborn = SERVES.replace('lambda *_: (log("stopped"), sys.exit(0))', "signal.SIG_IGN")
    supervisor = new(tmp_path, diary, said, one=stubborn)
    supervisor.start()
    supervisor.wait_until_ready(threading.Event())
    supervisor.stop()
    assert said == ["the one does not stop: killed"]


@pytest.mark.parametrize(
    ("given", "ports"),
    [("", {}), ("0", {"a": 0, "b": 0}), ("9464", {"a": 9464, "b": 9465})],
)
def test_each_service_has_a_port_of_its_own_for_its_metrics(given, ports):
    assert metrics_ports(["a", "b"], {"BATON_METRICS_PORT": given}) == ports


@pytest.mark.parametrize("given", ["x", "65535"])
def test_a_port_that_cannot_be_is_named(given):
    with pytest.raises(SettingsError, match=r"BATON_METRICS_PORT .* to 65534"):
        metrics_ports(["a", "b"], {"BATON_METRICS_PORT": given})


def test_a_service_is_told_its_port_and_whoever_starts_it_the_address(tmp_path, monkeypatch):
    monkeypatch.setenv("BATON_METRICS_PORT", "9464")
    program = (
        "import os, pathlib, sys, time; "
        "pathlib.Path(sys.argv[1]).write_text(os.environ['BATON_METRICS_PORT']); "
        "pathlib.Path(os.environ['BATON_READY_FILE']).touch(); time.sleep(99)"
    )
    told = {name: tmp_path / name for name in ("one", "two")}
    commands = {name: [sys.executable, "-c", program, str(path)] for name, path in told.items()}
    supervisor = Supervisor(Settings("127.0.0.1:1"), tmp_path / "logs", print, commands)
    supervisor.start()
    assert supervisor.wait_until_ready(threading.Event())
    supervisor.stop()
    assert {name: path.read_text() for name, path in told.items()} == {"one": "9464", "two": "9465"}
    assert supervisor.metrics["two"] == "http://127.0.0.1:9465/metrics"
