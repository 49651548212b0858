"""Processes for models as the agent holds them: forked, asked, timed, killed."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from typing import Any

from artifacts.confinement import clean_environment, end_of
from artifacts.wire import END, FORK, LINE, OverdueError, WireError, exchange, within
from schemas.errors import BatonError, StoreError

STOP_S = 5.0
ATTEMPTS = 2


class ModelRaisedError(BatonError):
    """The model raised an exception; its process goes on."""

    code = "model_raised"


class ModelDiedError(BatonError):
    """The process of a model ended (crash, out of memory) or spoke out of turn, and was killed.

    ``answered`` counts what it had answered before: a model that leaks memory has answered much.
    """

    code = "model_died"

    def __init__(self, message: str, answered: int) -> None:
        super().__init__(message)
        self.answered = answered


class ModelGoneError(BatonError):
    """The process of a model had been ended before it was asked: load it again."""

    code = "model_gone"


class ModelOverdueError(BatonError):
    """The model did not answer within its time limit, and its process was killed."""

    code = "model_overdue"


class Process:
    """The process of one model, as the agent holds it; asked one thing at a time."""

    def __init__(self, server: "ForkServer", memory_bytes: int) -> None:
        self._server = server
        self._socket, self._pid = server.fork(memory_bytes)
        self._socket.settimeout(0)
        self.alive = True
        self.answered = 0

    async def ask(self, body: bytes, *, limit_s: float) -> tuple[dict[str, Any], bytearray]:
        """Send a message and return the answer; raises as HostedModel.predict."""
        try:
            answer, content = await within(limit_s, exchange(self._socket, body))
        except OverdueError:
            await self.end()
            raise ModelOverdueError(f"no answer within {limit_s:g} s") from None
        except (WireError, OSError) as error:
            raise await self.died(str(error)) from None
        if "out_of_memory" in answer:
            raise await self.died("ran out of memory", known=True)
        if "error" in answer:
            # A stranger's text: half of a surrogate pair could not be passed on.
            raise ModelRaisedError(str(answer["error"]).encode(errors="replace").decode())
        self.answered += 1
        return answer, content

    async def died(self, why: str, *, known: bool = False) -> ModelDiedError:
        """End it and return the error that says how it went."""
        how = await self.end()
        return ModelDiedError(f"its process {why if known else how or why}", self.answered)

    async def end(self) -> str | None:
        """Kill it and what it started; how it had ended, if it had."""
        if not self.alive:
            return None
        self.alive = False
        try:
            return await asyncio.to_thread(self._server.end, self._pid)
        finally:
            # Only now: it may have been waited for until then.
            self._socket.close()


class ForkServer:
    """The process that forks the others (artifacts.forkserver); started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        # By pid, our side of each process that runs. Who holds the process closes it.
        self._sockets: dict[int, socket.socket] = {}
        self._closed = False

    def start(self) -> None:
        """Start it ahead of need."""
        with self._lock:
            self._started()

    def close(self) -> None:
        """End everything; whoever waits for a model hears that it has died."""
        with self._lock:
            self._closed = True
            self._end()

    def fork(self, memory_bytes: int) -> tuple[socket.socket, int]:
        """Return the socket and the pid of a new process."""
        with self._lock:
            for _ in range(ATTEMPTS):
                orders = self._started()
                ours, theirs = socket.socketpair()
                with theirs, contextlib.suppress(OSError, ValueError):
                    socket.send_fds(orders, [b"%s %d" % (FORK, memory_bytes)], [theirs.fileno()])
                    pid = int(orders.recv(LINE))
                    self._sockets[pid] = ours
                    return ours, pid
                ours.close()
                # It died; its processes went with it.
                self._end()
        raise StoreError("no process can be started for a model: the machine may be out of memory")

    def end(self, pid: int) -> str | None:
        """Kill the process ``pid``; say how it had ended, or None where that is not known."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            # Gone already where the server that forked it is.
            if self._sockets.pop(pid, None) is not None and self._orders is not None:
                self._orders.sendall(b"%s %d" % (END, pid))
                return end_of(int(self._orders.recv(LINE)))
        return None

    def _started(self) -> socket.socket:
        if self._closed:
            raise StoreError("models are loaded no more: the agent stops")
        if self._orders is not None and self._process is not None and self._process.poll() is None:
            return self._orders
        self._end()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "artifacts.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=clean_environment(),
                pass_fds=(theirs.fileno(),),
                # A Ctrl-C at the terminal is for the agent, which then ends it.
                start_new_session=True,
            )
        self._orders = ours
        return ours

    def _end(self) -> None:
        if self._orders is not None:
            self._orders.close()
            self._orders = None
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for ours in self._sockets.values():
            # Somebody may wait for what comes from it: this wakes them, a close would not.
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()
