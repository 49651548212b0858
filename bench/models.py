"""The models that everybody scores with: fitted here, on the same rows, the same way each time."""

from functools import cache
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TREES = 100


def logistic() -> tuple[Any, pd.DataFrame]:
    """Return a fitted scaler with logistic regression, and the 569 rows of 30 features."""
    frame, target = _data()
    return make_pipeline(StandardScaler(), LogisticRegression(random_state=0)).fit(
        frame, target
    ), frame


def forest() -> tuple[Any, pd.DataFrame]:
    """Return a fitted forest of 100 trees, and the 569 rows of 30 features."""
    frame, target = _data()
    return RandomForestClassifier(TREES, random_state=0).fit(frame, target), frame


KINDS = {"logistic": logistic, "forest": forest}


@cache
def fitted(kind: str) -> tuple[Any, pd.DataFrame]:
    """Return the model ``kind`` ("logistic" or "forest") and the rows it was fitted on, once."""
    return KINDS[kind]()


def save(kind: str, folder: Path) -> Path:
    """Write the model ``kind`` with joblib; return the file's path."""
    path = folder / f"{kind}.joblib"
    joblib.dump(fitted(kind)[0], path)
    return path


def _data() -> tuple[pd.DataFrame, Any]:
    bunch = load_breast_cancer(as_frame=True)
    return bunch.data, bunch.target
