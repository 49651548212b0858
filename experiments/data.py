"""Training data: what is wrong with it is said before anything is trained."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from artifacts.frames import DTYPES
from artifacts.infer import as_frame, input_schema
from experiments.experiment import Task
from schemas.errors import BatonError
from schemas.faults import first_fault
from schemas.manifest import FieldType, InputSchema, SchemaField

# More distinct whole numbers than this are a quantity rather than labels.
MOST_LABELS = 10
# R² of a fold has a meaning from two rows on.
ROWS_PER_FOLD = 2
NAMED = 5


class DataError(BatonError):
    """The data cannot be trained on."""

    code = "invalid_data"


@dataclass(frozen=True, slots=True)
class Dataset:
    """What pipelines are trained on.

    ``features`` has a column for each field of ``schema``, of the type in which a scoring agent
    builds it (artifacts.frames), and ``target`` a label or number for each of its rows. ``notes``
    say what was left out and decided.
    """

    features: pd.DataFrame
    target: npt.NDArray[Any]
    task: Task
    schema: InputSchema
    notes: tuple[str, ...]


def dataset(
    frame: pd.DataFrame,
    target: str,
    *,
    task: Task | None = None,
    folds: int = 5,
    leave_out: Sequence[str] = (),
) -> Dataset:
    """Prepare ``frame`` for ``folds``-fold cross-validation of its column ``target``.

    Without a ``task`` the target decides: text, truth values and at most 10 distinct whole numbers
    are classes. Rows without a target and columns of times are left out, and noted. Raises
    DataError where nothing sensible could be trained.
    """
    frame = as_frame(frame)
    for column in (target, *leave_out):
        _present(frame, column)
    notes = []
    unlabelled = int(frame[target].isna().sum())
    if unlabelled == len(frame):
        raise DataError(f"target {target!r} has no value in any of the {len(frame)} rows")
    if unlabelled:
        frame = frame[frame[target].notna()].reset_index(drop=True)
        notes.append(f"{unlabelled} rows without a value of {target!r} are left out")
    found, labels = _target(frame[target], task)
    if task is None:
        distinct = len(np.unique(labels))
        notes.append(f"{found}, as {target!r} has {distinct} distinct values (--task decides)")
    _enough(found, labels, target, folds)
    schema, features = _features(frame.drop(columns=[target, *leave_out]), notes)
    return Dataset(features, labels, found, schema, tuple(notes))


def _present(frame: pd.DataFrame, column: str) -> None:
    if column in frame.columns:
        return
    names = [str(name) for name in frame.columns]
    near = difflib.get_close_matches(column, names, NAMED)
    raise DataError(
        f"there is no column {column!r}; " + (f"near it: {_some(near)}" if near else _some(names))
    )


def _target(column: "pd.Series[Any]", task: Task | None) -> tuple[Task, npt.NDArray[Any]]:
    column = column.infer_objects()
    truth = {type(value) for value in column} <= {bool, np.bool_}
    numeric = pd.api.types.is_numeric_dtype(column.dtype) and not truth
    if numeric and not np.isfinite(column.to_numpy(np.float64)).all():
        raise DataError(f"target {column.name!r} has an infinite value")
    whole = numeric and bool((column % 1 == 0).all())
    if task is None:
        labels = not numeric or (whole and column.nunique() <= MOST_LABELS)
        task = "classification" if labels else "regression"
    if task == "regression":
        if not numeric:
            raise DataError(
                f"target {column.name!r} holds {column.iloc[0]!r}: a regression needs numbers; "
                "clean the column, or ask for a classification"
            )
        return task, column.to_numpy(np.float64)
    if numeric and not whole:
        raise DataError(
            f"target {column.name!r} holds {column[column % 1 != 0].iloc[0]}: class labels are "
            "text, truth values or whole numbers; ask for a regression"
        )
    if truth:
        return task, column.to_numpy(np.bool_)
    return task, column.to_numpy(np.int64) if whole else _text(column)


def _enough(task: Task, labels: npt.NDArray[Any], target: str, folds: int) -> None:
    if task == "regression":
        if len(labels) < ROWS_PER_FOLD * folds:
            raise DataError(
                f"{len(labels)} rows are too few for {folds} folds of at least {ROWS_PER_FOLD}: "
                "bring more rows, or ask for fewer folds"
            )
        if len(np.unique(labels)) == 1:
            raise DataError(f"target {target!r} is {labels[0]} in every row: nothing to learn")
        return
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) == 1:
        raise DataError(
            f"target {target!r} has one class, {classes.tolist()[0]!r}: at least two are needed"
        )
    if counts.min() < folds:
        rare = [f"{n} of {label!r}" for label, n in zip(classes.tolist(), counts, strict=True)
                if n < folds]  # fmt: skip
        raise DataError(
            f"{folds} folds need at least {folds} rows of each class of {target!r}, and there are "
            f"{_some(rare, quoted=False)}: bring more rows, leave out rare classes, ask for fewer "
            "folds, or for a regression where the target is a quantity"
        )


def _features(frame: pd.DataFrame, notes: list[str]) -> tuple[InputSchema, pd.DataFrame]:
    empty = [str(name) for name in frame.columns if frame[name].isna().all()]
    if empty:
        raise DataError(f"no row has a value in {_some(empty)}: leave such columns out")
    if frame.columns.empty:
        raise DataError("there is no column beside the target to learn from")
    try:
        schema = input_schema(frame)
    except ValidationError as error:
        raise DataError(f"no input schema has such columns: {first_fault(error)}") from None
    times = [field.name for field in schema.fields if field.type is FieldType.TIMESTAMP]
    if times:
        notes.append(f"times are no features as they stand, left out: {_some(times)}")
    kept = tuple(field for field in schema.fields if field.type is not FieldType.TIMESTAMP)
    if not kept:
        raise DataError("there is no column to learn from beside the target and times")
    columns = {field.name: _column(field, frame[field.name]) for field in kept}
    return InputSchema(fields=kept), pd.DataFrame(columns)


def _column(field: SchemaField, column: "pd.Series[Any]") -> npt.NDArray[Any]:
    """Return the column in the type that artifacts.frames gives to it when the model serves."""
    if field.type is FieldType.STRING:
        return _text(column)
    if field.type is FieldType.BOOLEAN:
        if field.nullable:
            return column.astype(object).where(column.notna(), np.nan).to_numpy(np.object_)
        return column.to_numpy(np.bool_)
    dtype = np.float64 if field.nullable else DTYPES[field.type]
    values = column.to_numpy(dtype, na_value=np.nan) if field.nullable else column.to_numpy(dtype)
    if np.isinf(values).any():
        raise DataError(f"column {field.name!r} has an infinite value: give a number, or none")
    return values


def _text(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    missing = column.isna()
    values = [np.nan if gone else str(value) for value, gone in zip(column, missing, strict=True)]
    return np.array(values, np.object_)


def _some(names: Sequence[str], *, quoted: bool = True) -> str:
    shown = [repr(name) if quoted else name for name in names[:NAMED]]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(shown) + more
