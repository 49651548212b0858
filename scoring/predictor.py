"""One vectorised prediction for many requests; a request that fails, fails alone."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from artifacts.frames import FieldError, Plan
from artifacts.load import LoadedModel
from schemas.scoring import ScoringCode
from scoring.codecs.tables import Prediction, Table
from scoring.errors import ScoringError, mismatch

# Their predict is the argmax of predict_proba (scikit-learn's own code), and costs it twice.
_ARGMAX = (RandomForestClassifier, ExtraTreesClassifier, DecisionTreeClassifier)

Result = list[Prediction] | ScoringError


class _Part(NamedTuple):
    """One request: its number in the batch and its tables, matched to the schema."""

    number: int
    tables: list[tuple[Plan, list[list[Any]]]]

    @property
    def rows(self) -> int:
        return sum(len(rows) for _, rows in self.tables)


def predict(model: LoadedModel, requests: Sequence[list[Table]]) -> list[Result]:
    """Return for each request a prediction for each of its tables, or its error."""
    results: list[Result | None] = [None] * len(requests)
    parts: list[_Part] = []
    for number, tables in enumerate(requests):
        try:
            plan = model.layout.plan
            parts.append(_Part(number, [(plan(table.fields), table.rows) for table in tables]))
        except FieldError as error:
            results[number] = mismatch(error.message, error.field)
    _predict(model, parts, results)
    return [result for result in results if result is not None]


def _predict(model: LoadedModel, parts: list[_Part], results: list[Result | None]) -> None:
    """Fill in the results of ``parts``. Where they fail together, each half is tried alone."""
    if not parts:
        return
    try:
        matrix = model.layout.build(list(chain.from_iterable(part.tables for part in parts)))
        predicted, probabilities = _call(model.estimator, matrix)
        _check(sum(part.rows for part in parts), predicted, probabilities)
    except Exception as error:  # noqa: BLE001 - the model is a stranger's code
        if len(parts) > 1:
            middle = len(parts) // 2
            _predict(model, parts[:middle], results)
            _predict(model, parts[middle:], results)
        else:
            results[parts[0].number] = _told(error)
        return
    labels = predicted.tolist()
    shares = None if probabilities is None else probabilities.tolist()
    at = 0
    for part in parts:
        answers = []
        for _, rows in part.tables:
            end = at + len(rows)
            answers.append(Prediction(labels[at:end], None if shares is None else shares[at:end]))
            at = end
        results[part.number] = answers


def _call(estimator: Any, matrix: Any) -> tuple[Any, Any]:  # noqa: ANN401 - any estimator
    if type(estimator) is Pipeline and len(estimator) > 1:
        # Its steps before the last would run once for the labels and once for the probabilities.
        matrix = estimator[:-1].transform(matrix)
        estimator = estimator[-1]
    if not hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict(matrix)), None
    probabilities = estimator.predict_proba(matrix)
    if not isinstance(probabilities, np.ndarray):
        # A list with an array for each output: there is no column for that in either protocol.
        return np.asarray(estimator.predict(matrix)), None
    if isinstance(estimator, _ARGMAX):
        return estimator.classes_.take(np.argmax(probabilities, axis=1)), probabilities
    return np.asarray(estimator.predict(matrix)), probabilities


def _check(rows: int, predicted: Any, probabilities: Any) -> None:  # noqa: ANN401 - arrays
    for values in (predicted, probabilities):
        if values is None:
            continue
        if values.shape[:1] != (rows,):
            raise ValueError(f"the model gave {values.shape} for {rows} rows")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError("the model answered NaN or infinity")


def _told(error: Exception) -> ScoringError:
    if isinstance(error, FieldError):
        return mismatch(error.message, error.field)
    text = f"{type(error).__name__}: {error}"
    return ScoringError(ScoringCode.MODEL_ERROR, f"the model fails on these rows: {text}"[:1000])
