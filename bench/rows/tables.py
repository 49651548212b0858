"""Row 5: rows of a mixed table, with strings and missing values, against the pipeline called here.

Calling directly means: the rows of each request lie in memory as a DataFrame of their own, and one
thread of this process asks the pipeline for labels and probabilities (``predict`` and
``predict_proba``, as a scoring answer holds both), frame after frame. No topic, no JSON. Beside it,
all rows in one frame: what grouping could give at most.
"""

import asyncio
import itertools
import time
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from bench.payloads import batonic
from bench.rig import Rig
from bench.rows.throughput import served
from bench.seed import manifest_of, seed

ROWS = 10_000
# By rows a request: how many requests, and how many frames are asked for directly.
REQUESTS = {100: (6_000, 200), 1: (60_000, 100)}
WHOLE_CALLS = 5
# Single rows are no row's goal: after so many rounds they are left out.
SINGLE_ROUNDS = 2
NUMBERS = ("age", "income", "balance", "tenure", "score")
STRINGS = {
    "country": ("AT", "CH", "DE", "FR", "IT", "PL"),
    "channel": ("branch", "phone", "web"),
    "product": ("basic", "family", "gold", "student"),
}
MISSING = 0.05


def table() -> pd.DataFrame:
    """Return rows of five numbers and three strings, a twentieth of the cells missing."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(ROWS, len(NUMBERS))), columns=list(NUMBERS))
    for name, values in STRINGS.items():
        frame[name] = pd.Series(random.choice(values, size=ROWS)).astype(object)
    return frame.mask(random.random(frame.shape) < MISSING)


def pipeline(frame: pd.DataFrame) -> Any:  # noqa: ANN401 - scikit-learn's
    """Return a fitted pipeline that imputes, scales and encodes."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    strings = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    columns = ColumnTransformer(
        [("numbers", numbers, list(NUMBERS)), ("strings", strings, list(STRINGS))]
    )
    target = frame["score"].fillna(0) + (frame["channel"] == "web") > 0
    return make_pipeline(columns, LogisticRegression()).fit(frame, target.astype(int))


def measure(rig: Rig) -> dict[str, Any]:
    """Return rows a second by rows a request: of the agent, and of direct calls."""
    frame = table()
    estimator = pipeline(frame)
    rows = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    found: dict[str, dict[str, list[float]]] = {}
    for number, size in itertools.product(range(rig.rounds), REQUESTS):
        if size == 1 and number >= SINGLE_ROUNDS:
            continue
        requests, calls = (rig.size(count) for count in REQUESTS[size])
        settings = rig.fresh(f"tables-{size}-{number}")
        manifest = manifest_of(settings, estimator, frame)
        ids = asyncio.run(seed(settings, manifest, 1))
        payloads = batonic(ids, list(frame.columns), rows, size)
        ours = size * served(rig, settings, payloads, requests)
        theirs = direct(estimator, frame, size, calls)
        kept = found.setdefault(str(size), {"baton": [], "direct": [], "whole": []})
        kept["baton"].append(ours)
        kept["direct"].append(theirs)
        kept["whole"].append(direct(estimator, frame, len(frame), WHOLE_CALLS))
        rig.say(
            f"tables, round {number + 1} of {rig.rounds}: {size} rows a request "
            f"{ours:,.0f} rows/s, called directly {theirs:,.0f} rows/s"
        )
    return {"rounds": rig.rounds, "rates": found}


def direct(estimator: Any, frame: pd.DataFrame, size: int, calls: int) -> float:  # noqa: ANN401
    """Return rows a second of ``calls`` calls, each with a frame of ``size`` rows."""
    starts = [number * size % (len(frame) - size + 1) for number in range(calls)]
    frames = [frame.iloc[start : start + size].reset_index(drop=True) for start in starts]
    begun = time.perf_counter()
    for part in frames:
        estimator.predict(part)
        estimator.predict_proba(part)
    return calls * size / (time.perf_counter() - begun)
