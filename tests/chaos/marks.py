"""How an answer tells which model gave it, and to which request.

Every model of a run adds a number of its own, a multiple of ``STEP``, to the first field of a row;
every request asks about a number below it that follows from its id.
"""

import time
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin

STEP = 10**6
# Where a manifest says what its model adds.
ADDS = "adds"
# Of a slow model one row in so many takes so long: longer than others wait for it.
SLOW_EVERY = 50
SLOW_S = 0.5


def mark(request_id: str) -> int:
    """Return the first field of this request's row."""
    return crc32(request_id.encode()) % STEP


class Adding(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A model of three fields that adds ``adds`` to the first of them, exactly."""

    n_features_in_ = 3

    def __init__(self, adds: int, *, slow: bool = False) -> None:
        self.adds = adds
        self.slow = slow

    def predict(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a number for each row; a slow model takes its time for some."""
        if self.slow and (rows[:, 0] % SLOW_EVERY == SLOW_EVERY - 1).any():
            time.sleep(SLOW_S)
        return np.asarray(rows[:, 0] + float(self.adds))
