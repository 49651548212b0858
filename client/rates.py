"""What deployments are doing: requests a second, errors and latencies, second by second."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

# Requests of a partition whose times are remembered: an answer that comes later has no latency.
REMEMBERED = 100_000
# Latencies of one deployment in one second: more of them say no more.
SAMPLED = 2_000


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one deployment: answers and errors a second, latencies in milliseconds.

    A latency is None where no answer's request was seen; ``codes`` counts errors by their code.
    """

    requests_s: float = 0.0
    errors_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    codes: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Second:
    answers: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[int] = field(default_factory=list)


class Rates:
    """Takes requests and answers as they come; ``rates`` looks back over ``window_s`` seconds.

    ``now_s`` is any clock that goes on by seconds. A latency is the broker's time of an answer less
    that of its request, both taken when they were appended: what a client waits beyond it is the
    end of the answer's transaction, and both ways.
    """

    def __init__(self, now_s: float, window_s: int = 10) -> None:
        self._begun_s = now_s
        self._window_s = window_s
        self._asked: dict[int, dict[int, int]] = defaultdict(dict)
        self._seconds: dict[int, dict[str, _Second]] = {}

    def take_request(self, partition: int, offset: int, at_ms: int) -> None:
        """Remember when the request at that place came."""
        asked = self._asked[partition]
        asked[offset] = at_ms
        if len(asked) > REMEMBERED:
            # The oldest: a dict keeps the order in which its keys came.
            del asked[next(iter(asked))]

    def take_answer(
        self,
        deployment_id: str,
        now_s: float,
        *,
        at_ms: int,
        place: tuple[int, int] | None,
        code: str | None = None,
    ) -> None:
        """Count an answer; ``place`` is its request's partition and offset."""
        second = self._seconds.setdefault(int(now_s), {}).setdefault(deployment_id, _Second())
        second.answers += 1
        if code is not None:
            second.codes[code] += 1
        asked_ms = None if place is None else self._asked[place[0]].pop(place[1], None)
        if asked_ms is not None and len(second.latencies_ms) < SAMPLED:
            second.latencies_ms.append(max(at_ms - asked_ms, 0))

    def rates(self, now_s: float) -> dict[str, Rate]:
        """Return the rate of each deployment that was answered within the window."""
        first = int(now_s) - self._window_s
        for old in [second for second in self._seconds if second < first]:
            del self._seconds[old]
        span_s = max(min(float(self._window_s), now_s - self._begun_s), 1.0)
        whole: dict[str, _Second] = defaultdict(_Second)
        for found in self._seconds.values():
            for deployment_id, second in found.items():
                total = whole[deployment_id]
                total.answers += second.answers
                total.codes += second.codes
                total.latencies_ms += second.latencies_ms
        return {deployment_id: _rate(total, span_s) for deployment_id, total in whole.items()}


def _rate(total: _Second, span_s: float) -> Rate:
    latencies = sorted(total.latencies_ms)
    return Rate(
        requests_s=round(total.answers / span_s, 1),
        errors_s=round(total.codes.total() / span_s, 1),
        p50_ms=_quantile(latencies, 0.5),
        p99_ms=_quantile(latencies, 0.99),
        codes=dict(total.codes),
    )


def _quantile(ordered: list[int], share: float) -> float | None:
    """Return the nearest-rank quantile, or None of nothing."""
    if not ordered:
        return None
    return float(ordered[min(int(share * len(ordered)), len(ordered) - 1)])
