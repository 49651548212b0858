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


LABELS = np.where(X[:, 0] > 0.3, "high", np.where(X[:, 0] < -0.3, "low", "mid"))
CASES = {
    "binary": lambda: (LogisticRegression().fit(X, Y), X),
    "many": lambda: (LogisticRegression().fit(X, LABELS), X),
    "regression": lambda: (LinearRegression().fit(X, X[:, 1] * 2), X),
    "no_probabilities": lambda: (LinearSVC().fit(X, Y), X),
    "clusters": lambda: (KMeans(2, n_init=1, random_state=0).fit(X), X),
    "mixed": lambda: (mixed_pipeline(), MIXED),
}


def fitted(case):
    """A new estimator of that kind, and rows of its input."""
    return CASES[case]()


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
