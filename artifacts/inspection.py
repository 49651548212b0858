"""What a verification looks at, check by check. Runs a stranger's code: only in a child process."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
from sklearn.base import is_classifier

from artifacts.frames import FieldError, Layout, Matrix
from artifacts.load import unpickle, wants_frame
from artifacts.shown import said, shown
from artifacts.store import DigestError, Store
from schemas.checks import Check
from schemas.errors import StoreError
from schemas.manifest import Manifest

Array = npt.NDArray[Any]
_T = TypeVar("_T")

# Told of each step before it begins, so that whoever watches knows where a crash happened.
Began = Callable[[str], None]


class _FailedError(Exception):
    """The check in ``args[0]`` failed, and what follows it would make no sense."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.name)
        self.check = check


def inspect(manifest: Manifest, store: Store, began: Began) -> list[Check]:
    """Return the checks of a model's file, estimator and predictions; stops where none can follow.

    Whatever the model raises is a failed check of the step it was in. A MemoryError alone is let
    through: it is a check of its own (memory_limit).
    """
    done: list[Check] = []

    def step(name: str, check: Callable[[], _T], hint: str) -> _T:
        began(name)
        try:
            return check()
        except (_FailedError, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 - it ran a stranger's code
            raise _FailedError(_failed(name, "no error", said(error), hint)) from None

    ours = "the model raises where it is only looked at: save a plain scikit-learn estimator"
    try:
        content = step("digest", lambda: _content(manifest, store, done), "look at the store")
        estimator, version = step("load", lambda: _loaded(content, done), ours)
        done.append(step("framework_version", lambda: _version(manifest, version), ours))
        done.append(step("features", lambda: _features(manifest, estimator), ours))
        done.append(step("classes", lambda: _classes(manifest, estimator), ours))
        if all(check.passed for check in done):
            own = "the model fails on its own sample"
            done.append(step("sample_prediction", lambda: _sample(manifest, estimator), own))
    except _FailedError as failed:
        done.append(failed.check)
    return done


def _content(manifest: Manifest, store: Store, done: list[Check]) -> bytes:
    try:
        content = store.read(manifest.uri, manifest.sha256)
    except DigestError as error:
        hint = "the file is not the one that was saved: save and promote the model again"
        raise _FailedError(
            _failed("digest", f"sha256 {error.expected}", f"sha256 {error.actual}", hint)
        ) from None
    except StoreError as error:
        hint = "the workers read model files from the stores in BATON_STORE"
        raise _FailedError(_failed("digest", "a readable file", str(error), hint)) from None
    done.append(_passed("digest", f"sha256 {manifest.sha256}"))
    return content


def _loaded(content: bytes, done: list[Check]) -> tuple[Any, str]:
    try:
        estimator, version = unpickle(content)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - unpickling runs a stranger's code
        hint = "it must load with joblib where the workers run: their libraries, no local classes"
        raise _FailedError(_failed("load", "an estimator", said(error), hint)) from None
    if not callable(getattr(estimator, "predict", None)):
        hint = "a model has a predict method"
        raise _FailedError(_failed("load", "an estimator", type(estimator).__name__, hint))
    done.append(_passed("load", type(estimator).__name__))
    return estimator, version


def _version(manifest: Manifest, version: str) -> Check:
    expected = manifest.framework.version
    if version == expected:
        return _passed("framework_version", f"scikit-learn {version}")
    hint = "the manifest must name the version that wrote the file"
    return _failed("framework_version", f"scikit-learn {expected}", f"scikit-learn {version}", hint)


def _features(manifest: Manifest, estimator: Any) -> Check:  # noqa: ANN401
    if manifest.input_schema is None:
        hint = "save the model with sample rows: they give its schema"
        return _failed("features", "an input schema", "none", hint)
    ours = [field.name for field in manifest.input_schema.fields]
    names = getattr(estimator, "feature_names_in_", None)
    count = getattr(estimator, "n_features_in_", len(ours))
    if names is not None:
        # More of them than any schema can have need not be looked at.
        theirs = [str(name) for name in names[: 2 * len(ours)]]
        # A frame is matched by name; a pipeline may have been shown more columns than it reads.
        if len(names) < 2 * len(ours) and set(theirs) == set(ours):
            return _passed("features", f"{len(ours)} fields")
        hint = f"differ: {', '.join(sorted(set(theirs) ^ set(ours)))[:500]}"
        return _failed("features", ours, theirs, hint)
    if count == len(ours):
        return _passed("features", f"{len(ours)} fields")
    hint = "the input schema must be the estimator's own"
    return _failed("features", f"{len(ours)} fields", f"{count} features", hint)


def _classes(manifest: Manifest, estimator: Any) -> Check:  # noqa: ANN401
    schema = manifest.output_schema
    expected = None if schema is None or schema.classes is None else list(schema.classes)
    labels = getattr(estimator, "classes_", None) if is_classifier(estimator) else None
    actual = None if labels is None else np.asarray(labels).tolist()
    if expected is None or expected == actual:
        return _passed("classes", actual)
    hint = "the output schema must list the estimator's classes_, in their order"
    return _failed("classes", expected, actual, hint)


def _sample(manifest: Manifest, estimator: Any) -> Check:  # noqa: ANN401
    name = "sample_prediction"
    schema, sample = manifest.input_schema, manifest.sample
    if schema is None or sample is None or not sample.values:
        return _passed(name, "no sample rows in the manifest")
    layout = Layout(schema, as_frame=wants_frame(estimator))
    try:
        matrix = layout.build([(layout.plan(sample.fields), sample.values)])
    except FieldError as error:
        hint = "the sample rows must fit the input schema"
        return _failed(name, "rows that fit", error.message, hint)
    predicted, probabilities = _predicted(estimator, matrix)
    count = len(sample.values)
    classes = None if manifest.output_schema is None else manifest.output_schema.classes
    fault = _misshapen(predicted, probabilities, count, classes)
    return fault or _unfit(predicted, probabilities, classes) or _passed(name, f"{count} rows")


def _predicted(estimator: Any, matrix: Matrix) -> tuple[Array, Array | None]:  # noqa: ANN401
    predicted = np.asarray(estimator.predict(matrix))
    if hasattr(estimator, "predict_proba"):
        return predicted, np.asarray(estimator.predict_proba(matrix))
    return predicted, None


def _misshapen(
    predicted: Array, probabilities: Array | None, count: int, classes: Sequence[Any] | None
) -> Check | None:
    name = "sample_prediction"
    if predicted.shape[:1] != (count,):
        hint = "predict returns one result for each row"
        return _failed(name, f"{count} results", f"shape {predicted.shape}", hint)
    if probabilities is None:
        return None
    shape = probabilities.shape
    if shape[:1] != (count,) or (classes is not None and shape[1:] != (len(classes),)):
        wanted = f"shape ({count}, {'classes' if classes is None else len(classes)})"
        hint = "predict_proba returns a row for each row, a column for each class"
        return _failed(name, wanted, f"shape {shape}", hint)
    return None


def _unfit(
    predicted: Array, probabilities: Array | None, classes: Sequence[Any] | None
) -> Check | None:
    name = "sample_prediction"
    for values in (predicted, probabilities):
        if values is not None and not _finite(values):
            return _failed(name, "finite numbers", "NaN or infinity", "look at the training data")
    results = predicted.tolist()
    try:
        orjson.dumps(results)
    except TypeError as error:
        hint = "predict returns numbers, booleans or strings: answers are JSON"
        return _failed(name, "predictions that JSON can hold", said(error), hint)
    strangers = [] if classes is None else [label for label in results if label not in classes]
    if strangers:
        return _failed(name, classes, strangers[:5], "a prediction is one of the classes")
    return None


def _finite(values: Array) -> bool:
    if values.dtype.kind == "f":
        return bool(np.isfinite(values).all())
    if values.dtype.kind == "O":
        return all(not isinstance(v, float) or math.isfinite(v) for v in values.ravel().tolist())
    return True


def _passed(name: str, actual: Any) -> Check:  # noqa: ANN401 - any JSON value
    return Check(name=name, passed=True, actual=shown(actual))


def _failed(name: str, expected: Any, actual: Any, hint: str) -> Check:  # noqa: ANN401
    return Check(
        name=name, passed=False, expected=shown(expected), actual=shown(actual), hint=shown(hint)
    )


def peak_bytes() -> int:
    """Return the most memory that this process has held, in bytes."""
    import resource  # noqa: PLC0415 - not on every platform

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
