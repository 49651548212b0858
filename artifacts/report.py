"""What the process that tried a model reported, and what follows from it and from its end."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from artifacts.confinement import end_of
from artifacts.shown import shown
from schemas.checks import VERIFICATION_CHECKS, Check

# Far beyond what the checks of any model take (artifacts.shown bounds each).
REPORT_BYTES = 1024**2
# The checks of a whole report; those of the limits follow from how its process ended.
MADE_THERE = VERIFICATION_CHECKS[:-2]
_SHOWN = ("expected", "actual", "hint")


@dataclass(slots=True)
class Job:
    """A verification under way in the child ``pid``, whose report is read from ``pipe``."""

    id: str
    pid: int
    pipe: int
    started: float
    time_limit_s: float
    memory_limit_bytes: int
    report: bytearray = field(default_factory=bytearray)
    timed_out: bool = False
    lives_on: bool = False


def conclusion(job: Job, status: int) -> list[Check]:
    """Return the checks of a verification whose process has ended with ``status`` (os.waitpid)."""
    lines = list(_lines(job))
    last = lines[-1] if lines else {}
    steps = [line["step"] for line in lines if line.get("step") in VERIFICATION_CHECKS]
    step = steps[-1] if steps else "load"
    took = time.monotonic() - job.started
    limit, memory = job.time_limit_s, job.memory_limit_bytes // 1024**2
    if job.timed_out or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        hint = "a model must load and answer its sample in that time"
        actual = f"still in step {step} after {took:.1f} s"
        return [_failed("time_limit", f"within {limit:g} s", actual, hint)]
    if "out_of_memory" in last:
        hint = "make the model smaller, or raise BATON_VERIFY_MEMORY_LIMIT_MB"
        return [
            _failed("memory_limit", f"within {memory} MiB", f"out of memory in step {step}", hint)
        ]
    if len(job.report) > REPORT_BYTES:
        hint = "the model wrote where only the verification reports"
        return [_failed(step, "a report", f"more than {REPORT_BYTES} bytes of one", hint)]
    checks = _reported(last)
    if checks is None:
        hint = "the model ended the process that tried it, or closed its files"
        actual = last.get("error") or _end(job, status)
        return [_failed(step, "a process that survives it", shown(actual), hint)]
    peak = last["peak"] // 1024**2
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


def _lines(job: Job) -> Iterator[dict[str, Any]]:
    """Yield the lines of the report that are the verification's own."""
    for raw in job.report.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(raw)
            if isinstance(line, dict) and line.get("id") == job.id:
                yield line


def _reported(last: dict[str, Any]) -> list[Check] | None:
    """Return the checks of a whole report, else None.

    Even one that a model has forged is nothing that the audit log could not hold.
    """
    try:
        checks = [Check.model_validate(entry) for entry in last["checks"]]
        int(last["peak"])
    except (KeyError, TypeError, ValueError):
        return None
    names = tuple(check.name for check in checks)
    if names != MADE_THERE[: len(names)] or (names != MADE_THERE and _all_passed(checks)):
        return None
    return [
        check.model_copy(update={part: shown(getattr(check, part)) for part in _SHOWN})
        for check in checks
    ]


def _all_passed(checks: Sequence[Check]) -> bool:
    return all(check.passed for check in checks)


def _failed(name: str, expected: str, actual: str, hint: str) -> Check:
    return Check(name=name, passed=False, expected=expected, actual=actual, hint=hint)


def _end(job: Job, status: int) -> str:
    if job.lives_on:
        return "closed its report and went on"
    return end_of(status)
