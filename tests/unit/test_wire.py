"""What travels between an agent and a model's process, and how long it is waited for."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from artifacts.wire import OverdueError, exchange, within

# A model that takes less than it may, and an agent that is told when to be paused.
ASKS = """
import asyncio, os, socket, time
from artifacts.wire import exchange, receive, send, within
ours, theirs = socket.socketpair()
if os.fork() == 0:
    receive(theirs)
    time.sleep(0.3)
    send(theirs, {"late": False}, b"x" * 10)
    os._exit(0)
ours.setblocking(False)
print("waiting", flush=True)
print(asyncio.run(within(3.0, exchange(ours, b"")))[0])
"""


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        yield ours, theirs


def test_a_pause_of_the_agent_is_not_the_models_time():
    with subprocess.Popen([sys.executable, "-c", ASKS], stdout=subprocess.PIPE) as asks:
        assert asks.stdout.readline() == b"waiting\n"
        asks.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        asks.send_signal(signal.SIGCONT)
        assert asks.stdout.readline() == b"{'late': False}\n"
    assert asks.returncode == 0


async def test_who_says_nothing_is_overdue(pair):
    ours, _ = pair
    begun = time.monotonic()
    with pytest.raises(OverdueError):
        await within(0.3, exchange(ours, b""))
    assert time.monotonic() - begun >= 0.3


async def test_who_reads_nothing_is_overdue(pair):
    ours, _ = pair
    with pytest.raises(OverdueError):
        await within(0.3, exchange(ours, b"x" * 10_000_000))


async def test_who_says_a_little_for_ever_is_overdue(pair):
    ours, theirs = pair
    theirs.sendall((100).to_bytes(4, "big") + (0).to_bytes(8, "big"))
    with pytest.raises(OverdueError):
        await within(0.3, exchange(ours, b""))
