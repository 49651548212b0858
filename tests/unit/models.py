"""Models for tests: the kinds that people deploy."""

import os

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

RNG = np.random.default_rng(7)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
MIXED = pd.DataFrame(
    {
        "age": [30.0, None, 50.0, 41.0] * 10,
        "city": ["Rome", "Oslo", None, "Rome"] * 10,
        "visits": [1, 2, 3, 4] * 10,
        "member": [True, False, True, False] * 10,
    }
)


def mixed_pipeline():
    columns = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "visits"]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ],
        remainder="passthrough",
    )
    target = np.array(["no", "yes", "yes", "no"] * 10)
    return make_pipeline(columns, LogisticRegression()).fit(MIXED, target)


def cases():
    labels = np.where(X[:, 0] > 0.3, "high", np.where(X[:, 0] < -0.3, "low", "mid"))
    return {
        "binary": (LogisticRegression().fit(X, Y), X),
        "many": (LogisticRegression().fit(X, labels), X),
        "regression": (LinearRegression().fit(X, X[:, 1] * 2), X),
        "no_probabilities": (LinearSVC().fit(X, Y), X),
        "clusters": (KMeans(2, n_init=1, random_state=0).fit(X), X),
        "mixed": (mixed_pipeline(), MIXED),
    }


class Evil:
    """Runs ``code`` when it is unpickled."""

    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return exec, (self.code,)


class Secretive:
    """Fails on purpose, telling what it saw of the environment."""

    def __reduce__(self):
        return os.mkdir, ("/nowhere/" + os.environ.get("BATON_SECRET", "none"),)


class Moody:
    """A model that is well on every row but those whose first value is ``MOOD``.

    ``mood`` is the code it runs then, with ``self`` and ``rows`` at hand; it may set ``answer``.
    """

    MOOD = 666.0
    n_features_in_ = 3

    def __init__(self, mood):
        self.mood = mood

    def predict(self, rows):
        names = {"self": self, "rows": rows, "answer": rows[:, 0] * 2}
        if (rows[:, 0] == self.MOOD).any():
            exec(self.mood, names)  # noqa: S102 - what it is for
        return names["answer"]


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
    "speaks out of turn": (
        "import os\nfor fd in range(3, 64):\n try: os.write(fd, b'x' * 99)\n except OSError: pass"
    ),
    "closes everything": "import os; os.closerange(0, 64)",
}
