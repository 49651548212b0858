"""The data scientist's side: pipelines, cross-validation, a leaderboard."""

import time
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5
SEED = 0

PIPELINES = {
    "scaled logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.5)),
    "PCA + logistic regression": make_pipeline(
        StandardScaler(), PCA(10, random_state=SEED), LogisticRegression()
    ),
    "extra trees": ExtraTreesClassifier(100, random_state=SEED),
    "random forest": RandomForestClassifier(100, random_state=SEED),
    "scaled k nearest neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(15)),
    "Gaussian naive Bayes": GaussianNB(),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the leaderboard: means over the folds; ``seconds`` to cross-validate."""

    name: str
    estimator: Any
    roc_auc: float
    accuracy: float
    log_loss: float
    seconds: float

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics that are saved with the model."""
        return {
            "roc_auc": round(self.roc_auc, 4),
            "accuracy": round(self.accuracy, 4),
            "log_loss": round(self.log_loss, 4),
        }


@dataclass(frozen=True, slots=True)
class Data:
    """Wisconsin breast cancer: 569 patients, 30 measurements; 0 is malignant, 1 benign."""

    train: pd.DataFrame
    train_target: pd.Series
    test: pd.DataFrame


def load() -> Data:
    """Load the data that scikit-learn brings, a quarter of it held out."""
    bunch = load_breast_cancer(as_frame=True)
    train, test, target, _ = train_test_split(
        bunch.data, bunch.target, test_size=0.25, stratify=bunch.target, random_state=SEED
    )
    return Data(train, target, test)


def evaluate(name: str, data: Data) -> Entry:
    """Cross-validate the pipeline ``name``."""
    begun = time.monotonic()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    scores = cross_validate(
        PIPELINES[name],
        data.train,
        data.train_target,
        cv=folds,
        scoring=("roc_auc", "accuracy", "neg_log_loss"),
    )
    return Entry(
        name,
        clone(PIPELINES[name]),
        float(scores["test_roc_auc"].mean()),
        float(scores["test_accuracy"].mean()),
        float(-scores["test_neg_log_loss"].mean()),
        time.monotonic() - begun,
    )


def other_schema(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the data as another laboratory exports it: renamed, rounded, one column short."""
    other = frame.rename(columns={"mean radius": "radius_mean"})
    other["mean area"] = other["mean area"].round().astype("int64")
    return other.drop(columns=["worst symmetry"])
