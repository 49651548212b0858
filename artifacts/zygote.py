"""``python -m artifacts.zygote``: verify models, each in a fork of its own with limits.

It has imported scikit-learn once and forks from there, so a verification costs milliseconds. Jobs
come on standard input and results go to standard output, a JSON object a line. It ends with its
parent: at the end of its input it kills what still runs.
"""

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd  # noqa: F401 - imported before the fork, for the models
import sklearn.compose
import sklearn.pipeline  # noqa: F401 - same

from artifacts.inspection import inspect, peak_bytes
from artifacts.store import Store
from schemas.checks import Check
from schemas.manifest import Manifest

AT_ONCE = 2
READ = 65536
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class _Job:
    """A verification under way in the child ``pid``, whose report is read from ``pipe``."""

    id: str
    pid: int
    pipe: int
    started: float
    time_limit_s: float
    memory_limit_bytes: int
    report: bytearray = field(default_factory=bytearray)
    timed_out: bool = False


def main() -> None:
    """Serve until standard input ends."""
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    running: dict[int, _Job] = {}
    waiting: deque[dict[str, Any]] = deque()
    received = bytearray()
    while True:
        while waiting and len(running) < AT_ONCE:
            job = _fork(waiting.popleft(), running)
            running[job.pipe] = job
            selector.register(job.pipe, selectors.EVENT_READ)
        for key, _ in selector.select(_patience(running)):
            chunk = os.read(key.fd, READ)
            if key.fd != 0:
                job = running[key.fd]
                job.report += chunk
                if not chunk:
                    selector.unregister(key.fd)
                    del running[key.fd]
                    _answer(job)
            elif chunk:
                received += chunk
                *lines, rest = received.split(b"\n")
                received = bytearray(rest)
                waiting.extend(json.loads(line) for line in lines)
            else:
                for job in running.values():
                    _kill(job)
                return
        for job in list(running.values()):
            if time.monotonic() > job.started + job.time_limit_s:
                # Not waiting for the end of its report: what it started may hold the pipe open.
                job.timed_out = True
                selector.unregister(job.pipe)
                del running[job.pipe]
                _answer(job)


def _patience(running: dict[int, _Job]) -> float | None:
    ends = [job.started + job.time_limit_s for job in running.values()]
    return max(0.0, min(ends) - time.monotonic()) if ends else None


def _fork(order: dict[str, Any], running: dict[int, _Job]) -> _Job:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        for other in running.values():
            os.close(other.pipe)
        _child(order, writer)
    os.close(writer)
    return _Job(
        order["id"],
        pid,
        reader,
        time.monotonic(),
        order["time_limit_s"],
        order["memory_limit_bytes"],
    )


def _child(order: dict[str, Any], writer: int) -> NoReturn:
    """Verify in this process, write the report to ``writer``, and end."""
    # Its own group: what the model starts is killed with it.
    os.setsid()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)

    def report(**line: Any) -> None:  # noqa: ANN401 - JSON values
        os.write(writer, json.dumps(line).encode() + b"\n")

    _limit(order["memory_limit_bytes"], order["time_limit_s"])
    try:
        store = Store(order["roots"])
        manifest = Manifest.model_validate(order["manifest"])
        checks = inspect(manifest, store, lambda step: report(step=step))
        report(checks=[check.model_dump(mode="json") for check in checks], peak=peak_bytes())
    except MemoryError:
        report(out_of_memory=True)
    except BaseException as error:  # noqa: BLE001 - the report is all that leaves this process
        report(error=f"{type(error).__name__}: {error}"[:500])
    os._exit(0)


def _limit(memory_bytes: int, time_s: float) -> None:
    # Address space beyond what the imports have mapped already.
    with contextlib.suppress(OSError, ValueError):
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes,) * 2)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(time_s) + 1, int(time_s) + 2))


def _kill(job: _Job) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(job.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(job.pid, signal.SIGKILL)


def _answer(job: _Job) -> None:
    os.close(job.pipe)
    # Its report has ended; whatever it started goes with it.
    _kill(job)
    _, status = os.waitpid(job.pid, 0)
    checks = [check.model_dump(mode="json") for check in _conclusion(job, status)]
    sys.stdout.write(json.dumps({"id": job.id, "checks": checks}) + "\n")
    sys.stdout.flush()


def _conclusion(job: _Job, status: int) -> list[Check]:
    lines: list[dict[str, Any]] = []
    for raw in job.report.splitlines():
        # A model could write to the pipe too: what is no report of ours is passed over.
        with contextlib.suppress(ValueError):
            if isinstance(line := json.loads(raw), dict):
                lines.append(line)
    last = lines[-1] if lines else {}
    steps = [line["step"] for line in lines if "step" in line]
    step = steps[-1] if steps else "load"
    took = time.monotonic() - job.started
    limit, memory = job.time_limit_s, job.memory_limit_bytes // 1024**2
    if job.timed_out or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return [
            Check(
                name="time_limit",
                passed=False,
                expected=f"within {limit:g} s",
                actual=f"still in step {step} after {took:.1f} s",
                hint="a model must load and answer its sample in that time",
            )
        ]
    if "out_of_memory" in last:
        return [
            Check(
                name="memory_limit",
                passed=False,
                expected=f"within {memory} MiB",
                actual=f"out of memory in step {step}",
                hint="make the model smaller, or raise BATON_VERIFY_MEMORY_LIMIT_MB",
            )
        ]
    if "checks" not in last:
        return [
            Check(
                name=step,
                passed=False,
                expected="a process that survives it",
                actual=last.get("error") or _end(status),
                hint="the model ended the process that tried it",
            )
        ]
    checks = [Check.model_validate(entry) for entry in last["checks"]]
    peak = last.get("peak", 0) // 1024**2
    return [
        *checks,
        Check(
            name="time_limit", passed=True, expected=f"within {limit:g} s", actual=f"{took:.2f} s"
        ),
        Check(
            name="memory_limit",
            passed=True,
            expected=f"{memory} MiB beyond the libraries",
            actual=f"{peak} MiB with them",
        ),
    ]


def _end(status: int) -> str:
    # The kill that clears up comes after the report's end, so it may be what ended an idle child.
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"


if __name__ == "__main__":
    main()
