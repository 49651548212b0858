"""What processes take of a machine, sampled while they work: memory, file descriptors, threads."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import psutil

MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process: seconds since the first, resident bytes, descriptors, threads."""

    at_s: float
    rss: int
    fds: int
    threads: int


class Sampler:
    """Samples processes every ``every_s`` seconds in a thread of its own, within a block.

    ``pids`` are by name. Direct children are a row of their own (``NAME's children``): not what
    those start in turn, which comes and goes with each verification. ``out`` gets a JSON line each.
    """

    def __init__(self, pids: Mapping[str, int], every_s: float, out: Path | None = None) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._every_s = every_s
        self._out = out
        self._begun = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: dict[str, list[Sample]] = {}
        self.died: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        if self._out is None:
            return self._sample(None)
        self._out.parent.mkdir(parents=True, exist_ok=True)
        with self._out.open("w") as lines:
            return self._sample(lines)

    def _sample(self, lines: TextIOWrapper | None) -> None:
        while True:
            at_s = time.monotonic() - self._begun
            for name, process in self._processes.items():
                try:
                    # Nobody may have waited for it yet: then it is there and takes nothing.
                    if process.status() == psutil.STATUS_ZOMBIE:
                        self.died.add(name)
                        continue
                    found = {name: [process], f"{name}'s children": process.children()}
                except psutil.NoSuchProcess:
                    self.died.add(name)
                    continue
                for row, processes in found.items():
                    if processes:
                        self._keep(row, _look(at_s, processes), lines)
            if self._end.wait(self._every_s):
                return

    def _keep(self, row: str, sample: Sample, lines: TextIOWrapper | None) -> None:
        self.samples.setdefault(row, []).append(sample)
        if lines is not None:
            lines.write(json.dumps({"process": row, **asdict(sample)}) + "\n")
            lines.flush()


def slope_per_hour(samples: list[Sample], what: str) -> float:
    """Return the least-squares slope of ``rss``, ``fds`` or ``threads``, an hour."""
    times = np.array([sample.at_s for sample in samples])
    values = np.array([float(getattr(sample, what)) for sample in samples])
    if len(times) < 2 or np.ptp(times) == 0:
        return 0.0
    return float(np.polyfit(times, values, 1)[0]) * 3600


def _look(at_s: float, processes: list[psutil.Process]) -> Sample:
    rss = fds = threads = 0
    for process in processes:
        try:
            with process.oneshot():
                rss += process.memory_info().rss
                fds += process.num_fds()
                threads += process.num_threads()
        except psutil.NoSuchProcess:
            continue
    return Sample(at_s, rss, fds, threads)
