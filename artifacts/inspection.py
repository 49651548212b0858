"""What a verification looks at, check by check. Runs a stranger's code: only in a child process."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from artifacts.frames import FieldError, Layout, Matrix
from artifacts.load import unpickle, wants_frame
from artifacts.store import DigestError, Store
from schemas.checks import Check
from schemas.errors import StoreError
from schemas.manifest import Manifest

# Told of each step before it begins, so that whoever watches knows where a crash happened.
Began = Callable[[str], None]


class _FailedError(Exception):
    """The check in ``args[0]`` failed, and what follows it would make no sense."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.name)
        self.check = check


def inspect(manifest: Manifest, store: Store, began: Began) -> list[Check]:
    """Return the checks of a model's file, estimator and predictions; stops where none can follow.

    A MemoryError is let through: it is a check of its own (memory_limit).
    """
    done: list[Check] = []
    try:
        began("digest")
        content = _content(manifest, store, done)
        began("load")
        estimator, version = _loaded(content, done)
        began("framework_version")
        done.append(_version(manifest, version))
        began("features")
        done.append(_features(manifest, estimator))
        began("classes")
        done.append(_classes(manifest, estimator))
        if all(check.passed for check in done):
            began("sample_prediction")
            done.append(_sample(manifest, estimator))
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
        raise _FailedError(_failed("load", "an estimator", _said(error), hint)) from None
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
        theirs = [str(name) for name in names]
        # A frame is matched by name; a pipeline may have been shown more columns than it reads.
        if set(theirs) == set(ours):
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


def _sample(manifest: Manifest, estimator: Any) -> Check:  # noqa: ANN401, PLR0911 - a return a fault
    name = "sample_prediction"
    schema, sample = manifest.input_schema, manifest.sample
    if schema is None or sample is None or not sample.values:
        return _passed(name, "no sample rows in the manifest")
    rows = sample.values
    layout = Layout(schema, as_frame=wants_frame(estimator))
    try:
        matrix = layout.build([(layout.plan(sample.fields), rows)])
        predicted, probabilities = _predicted(estimator, matrix)
    except MemoryError:
        raise
    except FieldError as error:
        hint = "the sample rows must fit the input schema"
        return _failed(name, "rows that fit", error.message, hint)
    except BaseException as error:  # noqa: BLE001 - predict is a stranger's code
        return _failed(name, "predictions", _said(error), "the model fails on its own sample")
    for values, shape in ((predicted, (len(rows),)), (probabilities, (len(rows),))):
        if values is not None and values.shape[:1] != shape:
            hint = "predict returns one result for each row"
            return _failed(name, f"{len(rows)} results", f"shape {values.shape}", hint)
        if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
            return _failed(name, "finite numbers", "NaN or infinity", "look at the training data")
    if (strangers := _strangers(manifest, predicted)) is not None:
        return strangers
    return _passed(name, f"{len(rows)} rows")


def _predicted(estimator: Any, matrix: Matrix) -> tuple[Any, Any]:  # noqa: ANN401
    predicted = np.asarray(estimator.predict(matrix))
    if hasattr(estimator, "predict_proba"):
        return predicted, np.asarray(estimator.predict_proba(matrix))
    return predicted, None


def _strangers(manifest: Manifest, predicted: Any) -> Check | None:  # noqa: ANN401
    schema = manifest.output_schema
    if schema is None or schema.classes is None:
        return None
    strangers = [label for label in predicted.tolist() if label not in schema.classes]
    if not strangers:
        return None
    hint = "a prediction is one of the classes"
    return _failed("sample_prediction", list(schema.classes), strangers[:5], hint)


def _passed(name: str, actual: Any) -> Check:  # noqa: ANN401 - any JSON value
    return Check(name=name, passed=True, actual=actual)


def _failed(name: str, expected: Any, actual: Any, hint: str) -> Check:  # noqa: ANN401
    return Check(name=name, passed=False, expected=expected, actual=actual, hint=hint)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def peak_bytes() -> int:
    """Return the most memory that this process has held, in bytes."""
    import resource  # noqa: PLC0415 - not on every platform

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
