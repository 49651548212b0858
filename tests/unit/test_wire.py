"""What travels between an agent and a model's process, and how long it is waited for."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from artifacts.wire import STEP_S, OverdueError, Patience, receive, send

# A model that takes less than it may, and an agent that is told when to be paused.
ASKS = """
import os, socket, sys, time
from artifacts.wire import STEP_S, Patience, receive, send
ours, theirs = socket.socketpair()
if os.fork() == 0:
    time.sleep(0.3)
    send(theirs, {"late": False}, b"x" * 10)
    os._exit(0)
ours.settimeout(STEP_S)
print("waiting", flush=True)
print(receive(ours, Patience(1.0))[0])
"""


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(STEP_S)
        yield ours, theirs


def test_a_pause_of_the_agent_is_not_the_models_time():
    with subprocess.Popen([sys.executable, "-c", ASKS], stdout=subprocess.PIPE) as asks:
        assert asks.stdout.readline() == b"waiting\n"
        asks.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        asks.send_signal(signal.SIGCONT)
        assert asks.stdout.readline() == b"{'late': False}\n"
    assert asks.returncode == 0


def test_who_says_nothing_is_overdue(pair):
    ours, _ = pair
    begun = time.monotonic()
    with pytest.raises(OverdueError):
        receive(ours, Patience(0.3))
    assert time.monotonic() - begun >= 0.3


def test_who_reads_nothing_is_overdue(pair):
    ours, _ = pair
    with pytest.raises(OverdueError):
        send(ours, {}, b"x" * 10_000_000, patience=Patience(0.3))


def test_who_says_a_little_for_ever_is_overdue(pair):
    ours, theirs = pair
    theirs.sendall((100).to_bytes(4, "big") + (0).to_bytes(8, "big"))
    with pytest.raises(OverdueError):
        receive(ours, Patience(0.3))
