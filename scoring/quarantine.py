"""Models that hang or keep crashing are not tried again for a while: not on this instance."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.scoring import ScoringCode
from scoring.errors import ScoringError
from scoring.metrics import ScoringMetrics

log = logging.getLogger(__name__)

# The first quarantine, and how long one becomes by doubling.
FIRST_S = 60.0
LONGEST_S = 3600.0
# A request that crashes its model is found by halves: as many crashes as a batch has binary digits,
# and few such requests. A model that crashes more often is no use to anybody.
DEATHS = 24
WITHIN_S = 60.0


@dataclass(slots=True)
class _Case:
    until: float = 0.0
    next_s: float = FIRST_S
    reason: str = ""
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))


class Quarantine:
    """Who is in quarantine, by the model file's SHA-256, and for how long. ``clock`` in seconds."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        metrics: ScoringMetrics | None = None,
    ) -> None:
        self._clock = clock
        self._cases: dict[str, _Case] = {}
        self._metrics = metrics or ScoringMetrics()
        self._metrics.watch_quarantine(self._count)

    def refuse(self, sha256: str) -> None:
        """Raise ScoringError (model_error) while the model is in quarantine."""
        case = self._cases.get(sha256)
        if case is None:
            return
        left = case.until - self._clock()
        if left > 0:
            raise ScoringError(
                ScoringCode.MODEL_ERROR,
                f"the model is in quarantine on this instance for {left:.0f} s: {case.reason}",
            )
        if left < -LONGEST_S and not case.deaths:
            del self._cases[sha256]

    def overdue(self, sha256: str, reason: str) -> None:
        """Put a model that did not answer in time into quarantine."""
        self._metrics.overdue.inc()
        self._confine(sha256, reason)

    def _confine(self, sha256: str, reason: str) -> None:
        case = self._cases.setdefault(sha256, _Case())
        now = self._clock()
        case.until, case.reason = now + case.next_s, reason
        case.deaths.clear()
        log.error(
            "model in quarantine sha256=%s seconds=%.0f: %s",
            sha256,
            case.next_s,
            reason,
            extra={"sha256": sha256},
        )
        case.next_s = min(2 * case.next_s, LONGEST_S)

    def died(self, sha256: str, reason: str) -> None:
        """Note that the model's process died; one that does so often goes into quarantine."""
        self._metrics.died.inc()
        case = self._cases.setdefault(sha256, _Case())
        now = self._clock()
        case.deaths.append(now)
        log.warning(
            "a model's process died sha256=%s: %s", sha256, reason, extra={"sha256": sha256}
        )
        if len(case.deaths) == DEATHS and case.deaths[0] > now - WITHIN_S:
            self._confine(sha256, f"it died {DEATHS} times within {WITHIN_S:.0f} s: {reason}")

    def _count(self) -> int:
        """Return how many are in quarantine; asked from another thread."""
        now = self._clock()
        return sum(case.until > now for case in list(self._cases.values()))
