"""Models that misbehave, by what they do: on some rows, or when they are loaded."""

from typing import Any

import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LogisticRegression


class Moody(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A model that is well on every row but those whose first value is ``MOOD``.

    ``mood`` is the code it runs then, with ``self`` and ``rows`` at hand; it may set ``answer``.
    """

    MOOD = 666.0
    n_features_in_ = 3

    def __init__(self, mood: str) -> None:
        self.mood = mood

    def predict(self, rows: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - whatever its mood is
        """Return twice the first column, or do what its mood says."""
        names = {"self": self, "rows": rows, "answer": rows[:, 0] * 2}
        if (rows[:, 0] == self.MOOD).any():
            exec(self.mood, names)  # noqa: S102 - what it is for
        return names["answer"]


class Spiteful:
    """Runs ``code`` when it is unpickled."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.code,)


class OfAnotherVersion(LogisticRegression):  # type: ignore[misc]
    """Pickles as a LogisticRegression that scikit-learn 1.8.0 has written."""

    def __reduce__(self) -> tuple[Any, ...]:
        return LogisticRegression, (), vars(self) | {"_sklearn_version": "1.8.0"}


MOODS = {
    "sleeps for ever": "import time; time.sleep(10**6)",
    "never ends": "while True: pass",
    "exits": "import os; os._exit(3)",
    "segfaults": "import ctypes; ctypes.string_at(0)",
    "is killed": "import os; os.kill(os.getpid(), 9)",
    "raises": "raise RuntimeError('not this row')",
    "raises what cannot be told": (
        "class Mute(Exception):\n def __str__(self): raise ValueError\nraise Mute"
    ),
    "exits by exception": "raise SystemExit(0)",
    "answers NaN": "answer[rows[:, 0] == self.MOOD] = float('nan')",
    "answers too few": "answer = rows[:-1, 0]",
    "answers no array": "answer = 'what?'",
    "answers what is no JSON": "import numpy; answer = numpy.array([object()] * len(rows))",
    "takes 8 GB": "answer = bytearray(8 * 1024**3)",
    "leaks 100 MB a call": ("self.kept = [*getattr(self, 'kept', []), bytearray(100 * 1024**2)]"),
    "speaks out of turn": (
        "import os\nfor fd in range(3, 64):\n try: os.write(fd, b'x' * 99)\n except OSError: pass"
    ),
    "closes everything": "import os; os.closerange(0, 64)",
}

AT_LOAD = {
    "hangs": "import time; time.sleep(10**6)",
    "exits": "import os; os._exit(3)",
    "segfaults": "import ctypes; ctypes.string_at(0)",
    "takes 8 GB": "x = bytearray(8 * 1024**3)",
    "raises": "raise ValueError('no model')",
}
