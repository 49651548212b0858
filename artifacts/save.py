"""Save a model: file into the store, everything known about it into a manifest."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import joblib
import numpy.typing as npt
import pandas as pd
import sklearn
from pydantic import ValidationError

from artifacts.frames import FieldError, Layout
from artifacts.infer import as_frame, input_schema, output_schema, sample_rows
from artifacts.load import unpickle, wants_frame
from artifacts.store import Store
from schemas.errors import BatonError, ModelError, StoreError
from schemas.faults import first_fault
from schemas.manifest import Framework, InputSchema, Manifest, Sample


class Details(TypedDict, total=False):
    """What a manifest may say beside what is read from the model."""

    description: str | None
    tags: Sequence[str]
    metrics: Mapping[str, float] | None
    project_id: str | None
    model_id: str | None


def save_model(
    estimator: Any,  # noqa: ANN401 - any scikit-learn estimator
    sample: pd.DataFrame | npt.ArrayLike,
    *,
    store: Store,
    name: str,
    **more: Unpack[Details],
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
    return save_with_schema(estimator, schema, rows, store=store, name=name, **more)


def save_with_schema(
    estimator: Any,  # noqa: ANN401 - any scikit-learn estimator
    schema: InputSchema,
    sample: Sample | None,
    *,
    store: Store,
    name: str,
    **more: Unpack[Details],
) -> Manifest:
    """Save a fitted ``estimator`` whose input ``schema`` is known, as ``save_model`` does.

    Without a ``sample`` nothing is predicted, here or where the model is verified.
    """
    if not hasattr(estimator, "predict"):
        raise ModelError(f"{type(estimator).__name__} has no predict method")
    if sample is not None:
        _try(estimator, Layout(schema, as_frame=wants_frame(estimator)), sample)
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
            description=more.get("description"),
            tags=tuple(more.get("tags", ())),
            uri=stored.uri,
            sha256=stored.sha256,
            size=stored.size,
            framework=Framework(name="scikit-learn", version=sklearn.__version__),
            input_schema=schema,
            output_schema=output_schema(estimator),
            metrics=dict(more.get("metrics") or {}),
            sample=sample,
            project_id=more.get("project_id"),
            model_id=more.get("model_id"),
        )


def save_model_file(
    path: Path, sample: pd.DataFrame, *, store: Store, name: str, **more: Unpack[Details]
) -> Manifest:
    """Save the model in the joblib file at ``path``; the rest as for ``save_model``.

    It is unpickled here, which runs its code: only for the user's own files.
    """
    estimator = loaded(str(path), lambda: unpickle(path.read_bytes()))
    return save_model(estimator, sample, store=store, name=name, **more)


def loaded(what: str, load: Callable[[], tuple[Any, str]]) -> Any:  # noqa: ANN401 - any estimator
    """Return the estimator that ``load`` gives with the scikit-learn version that wrote it.

    Raises ModelError, naming it by ``what``: it cannot be loaded, or is of another version.
    """
    try:
        estimator, version = load()
    except BatonError:
        raise
    except Exception as error:
        raise ModelError(f"cannot load {what}: {type(error).__name__}: {error}") from error
    if version != sklearn.__version__:
        raise ModelError(
            f"{what} was written by scikit-learn {version}, here is {sklearn.__version__}: a model "
            "is saved with the version that made it"
        )
    return estimator


@contextlib.contextmanager
def _described() -> Iterator[None]:
    """Say what about a model no manifest can hold: NaN for a metric, infinity in its sample."""
    try:
        yield
    except ValidationError as error:
        raise ModelError(f"no manifest can say this: {first_fault(error)}") from None


def _try(estimator: Any, layout: Layout, sample: Sample) -> None:  # noqa: ANN401
    try:
        estimator.predict(layout.build([(layout.plan(sample.fields), sample.values)]))  # noqa: PD011 - not a frame
    except FieldError as error:
        raise ModelError(f"the sample does not fit its own schema: {error}") from error
    except Exception as error:
        raise ModelError(
            f"the model does not predict on the sample: {type(error).__name__}: {error}"
        ) from error
