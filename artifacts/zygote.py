"""``python -m artifacts.zygote``: verify models, each in a fork of its own with limits.

It has imported scikit-learn once and forks from there, so a verification costs milliseconds. Jobs
come on standard input and results go to standard output, a JSON object a line. It ends with its
parent: at the end of its input it kills what still runs.
"""

import contextlib
import json
import os
import resource
import selectors
import sys
import time
from collections import deque
from typing import Any

import pandas as pd  # noqa: F401 - imported before the fork, for the models
import sklearn.compose
import sklearn.pipeline  # noqa: F401 - same

from artifacts.confinement import adopt_orphans, confine, kill_group, kill_strays
from artifacts.inspection import inspect, peak_bytes
from artifacts.report import REPORT_BYTES, Job, conclusion
from artifacts.shown import said
from artifacts.store import Store
from schemas.manifest import Manifest

AT_ONCE = 2
READ = 65536
# How long a process may take to end once its report has.
ENDS_S = 0.5
POLL_S = 0.001


def main() -> None:
    """Serve until standard input ends."""
    adopt_orphans()
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    running: dict[int, Job] = {}
    waiting: deque[dict[str, Any]] = deque()
    received = bytearray()

    def finish(job: Job) -> None:
        selector.unregister(job.pipe)
        del running[job.pipe]
        _answer(job, {other.pid for other in running.values()})

    while True:
        while waiting and len(running) < AT_ONCE:
            job = _fork(waiting.popleft())
            running[job.pipe] = job
            selector.register(job.pipe, selectors.EVENT_READ)
        for key, _ in selector.select(_patience(running)):
            chunk = os.read(key.fd, READ)
            if key.fd != 0:
                job = running[key.fd]
                job.report += chunk
                if not chunk or len(job.report) > REPORT_BYTES:
                    finish(job)
            elif chunk:
                received += chunk
                *lines, rest = received.split(b"\n")
                received = bytearray(rest)
                waiting.extend(json.loads(line) for line in lines)
            else:
                return _kill_all(running)
        for job in list(running.values()):
            if time.monotonic() > job.started + job.time_limit_s:
                # Not waiting for the end of its report: what it started may hold the pipe open.
                job.timed_out = True
                finish(job)


def _patience(running: dict[int, Job]) -> float | None:
    ends = [job.started + job.time_limit_s for job in running.values()]
    return max(0.0, min(ends) - time.monotonic()) if ends else None


def _fork(order: dict[str, Any]) -> Job:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Whatever leaves it by an exception must not go on as a second zygote.
        try:
            _child(order, writer)
        finally:
            os._exit(1)
    os.close(writer)
    return Job(
        order["id"],
        pid,
        reader,
        time.monotonic(),
        order["time_limit_s"],
        order["memory_limit_bytes"],
    )


def _child(order: dict[str, Any], writer: int) -> None:
    """Verify in this process, write the report to ``writer``, and end."""

    def report(**line: Any) -> None:  # noqa: ANN401 - JSON values
        # With the job's id: what else a model writes to every descriptor it finds is passed over.
        os.write(writer, json.dumps({"id": order["id"], **line}).encode() + b"\n")

    confine(writer, order["memory_limit_bytes"])
    seconds = int(order["time_limit_s"])
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds + 1, seconds + 2))
    try:
        store = Store(order["roots"])
        manifest = Manifest.model_validate(order["manifest"])
        checks = inspect(manifest, store, lambda step: report(step=step))
        report(checks=[check.model_dump(mode="json") for check in checks], peak=peak_bytes())
    except MemoryError:
        report(out_of_memory=True)
    except BaseException as error:  # noqa: BLE001 - the report is all that leaves this process
        report(error=said(error))
    os._exit(0)


def _kill_all(running: dict[int, Job]) -> None:
    for job in running.values():
        kill_group(job.pid)
    kill_strays(set())


def _answer(job: Job, running: set[int]) -> None:
    job.lives_on = not (job.timed_out or _has_ended(job))
    os.close(job.pipe)
    # Its report has ended; whatever it started goes with it.
    kill_group(job.pid)
    _, status = os.waitpid(job.pid, 0)
    kill_strays(running)
    checks = [check.model_dump(mode="json") for check in conclusion(job, status)]
    sys.stdout.write(json.dumps({"id": job.id, "checks": checks}) + "\n")
    sys.stdout.flush()


def _has_ended(job: Job) -> bool:
    """Wait, a moment, for the end of a process whose report has ended, and leave its status."""
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    deadline = time.monotonic() + ENDS_S
    while os.waitid(os.P_PID, job.pid, look) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


if __name__ == "__main__":
    main()
