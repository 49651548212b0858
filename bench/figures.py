"""Arithmetic over what was measured: rates, ratios within a round, and their spread."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

# Of each run: its start, when the first batches are small and a JVM is cold.
SKIPPED = 0.2


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several runs, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Return the spread of ``values``. Raises ValueError where there are none."""
        found = sorted(values)
        if not found:
            raise ValueError("a spread needs at least one run, and there is none")
        return cls(median(found), found[0], found[-1])

    def scaled(self, factor: float) -> "Spread":
        """Return it in another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of ours / theirs, each within its own round.

    Rounds that either side lacks at its end are left out: what slows a machine down for a minute
    slows both sides of a round, and only of a round.
    """
    return Spread.of(a / b for a, b in zip(ours, theirs, strict=False))


def steady_rate(times_ms: Sequence[float], skipped: float = SKIPPED) -> float:
    """Return records a second from their times (ms, any order), the first share left out.

    Counts what came after the last record that is left out, since a batch has one time: from there
    to the last record. Raises ValueError where all came at once.
    """
    times = np.sort(np.asarray(times_ms, dtype=float))
    if not len(times):
        raise ValueError("no record came")
    cut, end = times[int(skipped * (len(times) - 1))], times[-1]
    if end <= cut:
        raise ValueError(
            f"{len(times)} records came within {end - times[0]:.0f} ms: too few to tell a rate, "
            "measure more of them"
        )
    return float((times > cut).sum() / (end - cut) * 1000)


def percentiles(latencies_s: "np.ndarray") -> dict[str, float]:
    """Return count, p50 and p99 (ms) of latencies; what never came (NaN) counts as endless."""
    found = np.where(np.isnan(latencies_s), np.inf, latencies_s) * 1000
    if not len(found):
        raise ValueError("no request was sent in the time that counts")
    p50, p99 = np.percentile(found, (50, 99), method="lower")
    return {"count": len(found), "p50": float(p50), "p99": float(p99)}
