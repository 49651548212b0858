"""A model file to a model in memory."""

import io
import threading
import warnings
from dataclasses import dataclass
from typing import Any

import joblib
import sklearn
from sklearn.exceptions import InconsistentVersionWarning

from artifacts.frames import Layout
from artifacts.store import Store
from schemas.errors import StoreError
from schemas.manifest import Manifest

# warnings.catch_warnings changes the whole process: one load at a time.
_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An estimator ready to predict. ``size_bytes`` is its file's size; ``layout`` reads rows."""

    estimator: Any
    manifest: Manifest
    layout: Layout
    size_bytes: int


def load_model(manifest: Manifest, store: Store) -> LoadedModel:
    """Load the model of ``manifest``, its digest checked before its bytes are unpickled.

    Raises StoreError where the file is not to be had, not the one that was saved, or was written
    by another version than the manifest says; and whatever unpickling it raises.
    """
    if manifest.input_schema is None:
        raise StoreError(f"model {manifest.name!r} has no input schema: it cannot read a request")
    content = store.read(manifest.uri, manifest.sha256)
    estimator, version = unpickle(content)
    if version != manifest.framework.version:
        raise StoreError(
            f"{manifest.uri} was written by scikit-learn {version}, its manifest says "
            f"{manifest.framework.version}"
        )
    layout = Layout(manifest.input_schema, as_frame=wants_frame(estimator))
    return LoadedModel(estimator, manifest, layout, len(content))


def unpickle(content: bytes) -> tuple[Any, str]:
    """Return the estimator in ``content`` and the scikit-learn version that wrote it."""
    with _LOADING, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = joblib.load(io.BytesIO(content))
    foreign = [
        entry.message.original_sklearn_version
        for entry in caught
        if isinstance(entry.message, InconsistentVersionWarning)
    ]
    return estimator, foreign[0] if foreign else sklearn.__version__


def wants_frame(estimator: Any) -> bool:  # noqa: ANN401 - any scikit-learn estimator
    """Return whether it was fitted on named columns, and so must be given them again."""
    return getattr(estimator, "feature_names_in_", None) is not None
