"""Schemas from what a user has: an estimator and a few rows of its input."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import is_classifier, is_clusterer, is_regressor

from schemas.manifest import FieldType, InputSchema, OutputSchema, Sample, SchemaField

SAMPLE_ROWS = 5


def as_frame(sample: pd.DataFrame | npt.ArrayLike) -> pd.DataFrame:
    """Return ``sample`` as a DataFrame; the columns of an array of shape (n, k) are x0, x1, …."""
    if isinstance(sample, pd.DataFrame):
        return sample.rename(columns=str)
    array = np.atleast_2d(np.asarray(sample))
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])]).infer_objects()


def input_schema(frame: pd.DataFrame) -> InputSchema:
    """Infer names and types; a column that misses a value here is nullable."""
    return InputSchema(
        fields=tuple(
            SchemaField(
                name=str(name),
                type=_field_type(frame[name]),
                nullable=bool(frame[name].isna().any()),
            )
            for name in frame.columns
        )
    )


def output_schema(estimator: Any) -> OutputSchema:  # noqa: ANN401 - any scikit-learn estimator
    """Read the task and the class labels, in the order of the probabilities."""
    if is_classifier(estimator):
        classes = getattr(estimator, "classes_", None)
        labels = None if classes is None else tuple(np.asarray(classes).tolist())
        return OutputSchema(task="classification", classes=labels)
    if is_regressor(estimator):
        return OutputSchema(task="regression")
    return OutputSchema(task="clustering" if is_clusterer(estimator) else "other")


def sample_rows(frame: pd.DataFrame) -> Sample:
    """Return the first rows as JSON values; what is missing is null."""
    head = frame.head(SAMPLE_ROWS)
    return Sample(
        fields=tuple(str(name) for name in frame.columns),
        values=tuple(
            tuple(_json(value) for value in row) for row in head.itertuples(index=False, name=None)
        ),
    )


def _field_type(column: "pd.Series[Any]") -> FieldType:
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return FieldType.BOOLEAN
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return FieldType.TIMESTAMP
    if pd.api.types.is_integer_dtype(dtype):
        # Small unsigned types fit the signed ones that the schema knows.
        return (
            FieldType.INTEGER
            if np.can_cast(np.dtype(str(dtype).lower()), np.int32)
            else (FieldType.LONG)
        )
    if pd.api.types.is_float_dtype(dtype):
        return FieldType.FLOAT if str(dtype).lower() in {"float16", "float32"} else FieldType.DOUBLE
    kinds = {type(value) for value in column.dropna()}
    if kinds and kinds <= {bool, np.bool_}:
        return FieldType.BOOLEAN
    return FieldType.STRING


def _json(value: Any) -> Any:  # noqa: ANN401 - any value of a frame
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, pd.Timestamp):
        aware = value if value.tzinfo is not None else value.tz_localize("UTC")
        return aware.isoformat()
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, bool | int | float | str) else str(value)
