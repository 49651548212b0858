"""Save a model: file into the store, everything known about it into a manifest."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy.typing as npt
import pandas as pd
import sklearn
from pydantic import ValidationError

from artifacts.frames import FieldError, Layout
from artifacts.infer import as_frame, input_schema, output_schema, sample_rows
from artifacts.load import unpickle, wants_frame
from artifacts.store import Store
from schemas.errors import BatonError, StoreError
from schemas.manifest import Framework, Manifest


class ModelError(BatonError):
    """A model cannot be saved: it does not predict, or its sample does not fit it."""

    code = "invalid_model"


def save_model(  # noqa: PLR0913 - a manifest is all of these
    estimator: Any,  # noqa: ANN401 - any scikit-learn estimator
    sample: pd.DataFrame | npt.ArrayLike,
    *,
    store: Store,
    name: str,
    description: str | None = None,
    tags: Sequence[str] = (),
    metrics: Mapping[str, float] | None = None,
    project_id: str | None = None,
    model_id: str | None = None,
) -> Manifest:
    """Save a fitted ``estimator``; ``sample`` has rows of its input, of shape (n, features).

    The schemas come from both: a column of the sample that misses a value is nullable. Raises
    ModelError where the estimator does not predict on the sample.
    """
    frame = as_frame(sample)
    if frame.empty:
        raise ModelError("the sample has no rows: a few rows of the model's input are needed")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ModelError(f"column {twice!r} comes twice in the sample: fields are told by name")
    with _described():
        schema, rows = input_schema(frame), sample_rows(frame)
    _try(estimator, Layout(schema, as_frame=wants_frame(estimator)), rows.values)
    with tempfile.TemporaryDirectory(prefix="baton-model-") as folder:
        path = Path(folder) / "model.joblib"
        try:
            joblib.dump(estimator, path)
        except OSError as error:
            raise StoreError(f"cannot write the model to {path}: {error}") from error
        stored = store.put(path)
    with _described():
        return Manifest(
            name=name,
            description=description,
            tags=tuple(tags),
            uri=stored.uri,
            sha256=stored.sha256,
            size=stored.size,
            framework=Framework(name="scikit-learn", version=sklearn.__version__),
            input_schema=schema,
            output_schema=output_schema(estimator),
            metrics=dict(metrics or {}),
            sample=rows,
            project_id=project_id,
            model_id=model_id,
        )


def save_model_file(path: Path, sample: pd.DataFrame, *, name: str, **more: Any) -> Manifest:  # noqa: ANN401
    """Save the model in the joblib file at ``path``; the rest as for ``save_model``.

    It is unpickled here, which runs its code: only for the user's own files.
    """
    try:
        estimator, version = unpickle(path.read_bytes())
    except Exception as error:
        raise ModelError(f"cannot load {path}: {type(error).__name__}: {error}") from error
    if version != sklearn.__version__:
        raise ModelError(
            f"{path} was written by scikit-learn {version}, here is {sklearn.__version__}: a model "
            "is saved with the version that made it"
        )
    return save_model(estimator, sample, name=name, **more)


@contextlib.contextmanager
def _described() -> Iterator[None]:
    """Say what about a model no manifest can hold: NaN for a metric, infinity in its sample."""
    try:
        yield
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise ModelError(f"no manifest can say this: {where}: {fault['msg']}") from None


def _try(estimator: Any, layout: Layout, rows: Sequence[Sequence[Any]]) -> None:  # noqa: ANN401
    if not hasattr(estimator, "predict"):
        raise ModelError(f"{type(estimator).__name__} has no predict method")
    try:
        estimator.predict(layout.build([(layout.plan(None), rows)]))
    except FieldError as error:
        raise ModelError(f"the sample does not fit its own schema: {error}") from error
    except Exception as error:
        raise ModelError(
            f"the model does not predict on the sample: {type(error).__name__}: {error}"
        ) from error
