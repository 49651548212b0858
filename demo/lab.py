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
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.evaluation import evaluate

METRICS = ("roc_auc", "accuracy", "log_loss")
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
    metrics: dict[str, float]
    seconds: float


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


def cross_validated(name: str, data: Data) -> Entry:
    """Cross-validate the pipeline ``name``."""
    begun = time.monotonic()
    pipeline = PIPELINES[name]
    found = evaluate(pipeline, data.train, data.train_target, "classification", FOLDS, SEED)
    metrics = {metric: found.metrics[metric].mean for metric in METRICS}
    return Entry(name, clone(pipeline), metrics, time.monotonic() - begun)


def other_schema(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the data as another laboratory exports it: renamed, rounded, one column short."""
    other = frame.rename(columns={"mean radius": "radius_mean"})
    other["mean area"] = other["mean area"].round().astype("int64")
    return other.drop(columns=["worst symmetry"])
