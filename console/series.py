"""A deployment's requests, errors and latencies over the last minutes, in bins of some seconds."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

BIN_S = 5
BINS = 180
WINDOW_S = BIN_S * BINS
# Answers are read this much after they were written: a bin is shown once it is whole.
DELAY_S = 1.5
# Latencies are kept to so many digits: a bin holds few different ones, however many answers.
DIGITS = 2


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests and errors a second, latencies in milliseconds: None where nothing is known."""

    requests_s: float | None = None
    errors_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(slots=True)
class _Bin:
    answers: float = 0.0
    errors: float = 0.0
    latencies_ms: Counter[int] = field(default_factory=Counter)


class Series:
    """The bins of one deployment, by the broker's clock (seconds since 1970).

    ``since_s`` is from when on it is known what came; None: not yet. ``sampled`` tells that more
    came than was read, some time within the window.
    """

    def __init__(self, since_s: float | None = None) -> None:
        self.since_s = since_s
        self._sampled_s = 0.0
        self._bins: dict[int, _Bin] = {}

    def take(
        self,
        at_s: float,
        *,
        error: bool = False,
        latency_ms: int | None = None,
        stands_for: float = 1,
    ) -> None:
        """Count an answer; it ``stands_for`` those that were passed over, too."""
        number = int(at_s // BIN_S)
        found = self._bins.get(number)
        if found is None:
            found = self._bins[number] = _Bin()
            self._forget(max(self._bins))
        found.answers += stands_for
        found.errors += stands_for * error
        if latency_ms is not None:
            found.latencies_ms[_rounded(max(latency_ms, 0))] += 1
        if stands_for > 1:
            self._sampled_s = max(self._sampled_s, at_s)

    def sampled(self, now_s: float) -> bool:
        """Return whether some of what is shown was counted by samples."""
        return self._sampled_s > now_s - WINDOW_S

    def rates(self, now_s: float) -> list[Rate]:
        """Return the rate of each bin of the window, oldest first; the last one ends at ``end``."""
        last = _end(now_s)
        return [self._rate((number,)) for number in range(last - BINS, last)]

    def rate(self, now_s: float, span_s: int) -> Rate:
        """Return the rate over the last ``span_s`` seconds, or as many of them as are known."""
        last = _end(now_s)
        return self._rate(range(last - span_s // BIN_S, last))

    def _rate(self, numbers: Iterable[int]) -> Rate:
        since = self.since_s
        known = [n for n in numbers if since is not None and n * BIN_S >= since]
        if not known:
            return Rate()
        found = [self._bins[number] for number in known if number in self._bins]
        latencies = found[0].latencies_ms if len(found) == 1 else Counter[int]()
        for each in found if len(found) > 1 else ():
            latencies.update(each.latencies_ms)
        span_s = BIN_S * len(known)
        return Rate(
            sum(each.answers for each in found) / span_s,
            sum(each.errors for each in found) / span_s,
            *quantiles(latencies, 0.5, 0.99),
        )

    def _forget(self, newest: int) -> None:
        for number in [n for n in self._bins if n < newest - BINS - 1]:
            del self._bins[number]


def end(now_s: float) -> float:
    """Return the end of the newest bin that is whole at ``now_s``."""
    return float(_end(now_s) * BIN_S)


def quantiles(counts: Counter[int], *shares: float) -> list[float | None]:
    """Return the nearest-rank quantiles of values and how often each came; None of nothing."""
    if not counts:
        return [None] * len(shares)
    values = sorted(counts)
    upto = list(accumulate(counts[value] for value in values))
    # The first value of which so many are no greater.
    ranks = [min(int(share * upto[-1]), upto[-1] - 1) + 1 for share in shares]
    return [float(values[bisect_left(upto, rank)]) for rank in ranks]


def _end(now_s: float) -> int:
    return int((now_s - DELAY_S) // BIN_S)


def _rounded(value: int) -> int:
    return round(value, min(DIGITS - len(str(value)), 0))
