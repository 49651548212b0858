"""A model file's bytes to an estimator."""

import io
import threading
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import sklearn
from sklearn.exceptions import InconsistentVersionWarning

# warnings.catch_warnings changes the whole process: one load at a time.
_LOADING = threading.Lock()


def unpickle(content: bytes) -> tuple[Any, str]:
    """Return the estimator in ``content`` and the scikit-learn version that wrote it."""
    return versioned(lambda: joblib.load(io.BytesIO(content)))


def versioned(load: Callable[[], Any]) -> tuple[Any, str]:
    """Return what ``load`` loads and the scikit-learn version that wrote it."""
    with _LOADING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = load()
    foreign = [
        entry.message.original_sklearn_version
        for entry in caught
        if isinstance(entry.message, InconsistentVersionWarning)
    ]
    return estimator, foreign[0] if foreign else sklearn.__version__


def wants_frame(estimator: Any) -> bool:  # noqa: ANN401 - any scikit-learn estimator
    """Return whether it was fitted on named columns, and so must be given them again."""
    return getattr(estimator, "feature_names_in_", None) is not None
