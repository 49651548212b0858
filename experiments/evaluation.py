"""How good a pipeline is: cross-validated metrics, times, and what its errors look like."""

import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_curve
from sklearn.model_selection import KFold, StratifiedKFold, cross_validate

from experiments.experiment import Errors, Spread, Task

CURVE_POINTS = 101
SHOWN_ROWS = 300
TWO_CLASSES = 2


class Metric(NamedTuple):
    """A metric: scikit-learn's name of its scorer, and whether less is better (``neg_…``)."""

    scorer: str
    less_is_better: bool = False


CLASSIFICATION = {
    "roc_auc": Metric("roc_auc_ovr_weighted"),
    "accuracy": Metric("accuracy"),
    "balanced_accuracy": Metric("balanced_accuracy"),
    "f1_macro": Metric("f1_macro"),
    "log_loss": Metric("neg_log_loss", less_is_better=True),
}
REGRESSION = {
    "rmse": Metric("neg_root_mean_squared_error", less_is_better=True),
    "mae": Metric("neg_mean_absolute_error", less_is_better=True),
    "r2": Metric("r2"),
}
# The first one ranks, unless another is asked for.
METRICS: dict[Task, dict[str, Metric]] = {
    "classification": CLASSIFICATION,
    "regression": REGRESSION,
}


class Evaluation(NamedTuple):
    """Metrics by name, seconds to fit and to predict a fold, and the errors on rows held out."""

    metrics: dict[str, Spread]
    fit_s: Spread
    predict_s: Spread
    errors: Errors


def evaluate(  # noqa: PLR0913, PLR0917 - what a cross-validation is made of
    estimator: Any,  # noqa: ANN401 - any scikit-learn estimator
    features: pd.DataFrame,
    target: npt.NDArray[Any] | pd.Series,
    task: Task,
    folds: int,
    seed: int,
) -> Evaluation:
    """Cross-validate ``estimator`` (which stays unfitted). The same seed makes the same folds."""
    splitter = StratifiedKFold if task == "classification" else KFold
    metrics, target = METRICS[task], np.asarray(target)
    found = cross_validate(
        estimator,
        features,
        target,
        cv=splitter(folds, shuffle=True, random_state=seed),
        scoring={name: metric.scorer for name, metric in metrics.items()},
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )
    held_out, predicted, seconds = [], [], []
    for fitted, rows in zip(found["estimator"], found["indices"]["test"], strict=True):
        part = features.iloc[rows]
        begun = time.perf_counter()
        predicted.append(fitted.predict(part))
        seconds.append(time.perf_counter() - begun)
        held_out.append((fitted, part, rows))
    actual = np.concatenate([target[rows] for _, _, rows in held_out])
    guess = np.concatenate(predicted)
    if task == "regression":
        errors = Errors(pairs=_pairs(actual, guess, seed))
    else:
        labels = np.unique(target)
        errors = Errors(
            confusion=tuple(map(tuple, confusion_matrix(actual, guess, labels=labels).tolist())),
            roc=_roc(actual, held_out, labels) if len(labels) == TWO_CLASSES else None,
        )
    return Evaluation(
        {
            name: Spread.of(found[f"test_{name}"] * (-1 if metric.less_is_better else 1))
            for name, metric in metrics.items()
        },
        Spread.of(found["fit_time"]),
        Spread.of(seconds),
        errors,
    )


def _pairs(actual: Any, guess: Any, seed: int) -> tuple[tuple[float, float], ...]:  # noqa: ANN401
    """Return some actual values with their predictions: the same rows for every pipeline."""
    rows = np.random.default_rng(seed).permutation(len(actual))[:SHOWN_ROWS]
    pairs = zip(actual[rows].tolist(), guess[rows].tolist(), strict=True)
    return tuple((float(a), float(g)) for a, g in pairs)


def _roc(actual: Any, held_out: Any, labels: Any) -> tuple[float, ...]:  # noqa: ANN401
    """Return the true positive rates at 101 even false positive rates from 0 to 1."""
    scores = np.concatenate([fitted.predict_proba(part)[:, 1] for fitted, part, _ in held_out])
    false_positive, true_positive, _ = roc_curve(actual == labels[1], scores)
    grid = np.linspace(0, 1, CURVE_POINTS)
    return tuple(np.interp(grid, false_positive, true_positive).round(4).tolist())
