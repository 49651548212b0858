"""Rows of JSON values to what an estimator reads, by the input schema. The hot path of scoring."""

import contextlib
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas.errors import BatonError
from schemas.manifest import FieldType, InputSchema, SchemaField

Rows = Sequence[Sequence[Any]]
Matrix = npt.NDArray[Any] | pd.DataFrame

_NULL = type(None)
_REAL = frozenset({int, float})
_ALLOWED: dict[FieldType, frozenset[type]] = {
    FieldType.BOOLEAN: frozenset({bool}),
    FieldType.INTEGER: frozenset({int}),
    FieldType.LONG: frozenset({int}),
    FieldType.FLOAT: _REAL,
    FieldType.DOUBLE: _REAL,
    FieldType.STRING: frozenset({str}),
    FieldType.TIMESTAMP: frozenset({str}),
}
_BITS = {FieldType.INTEGER: 31, FieldType.LONG: 63}
# The type of a column without gaps, by its field's; what is nullable is float64 or object.
DTYPES = {
    FieldType.BOOLEAN: np.bool_,
    FieldType.INTEGER: np.int32,
    FieldType.LONG: np.int64,
    FieldType.FLOAT: np.float32,
    FieldType.DOUBLE: np.float64,
}
PLANS = 1024
_MATRIX = 2


class FieldError(BatonError):
    """Rows do not fit the schema. ``row`` counts from 0; ``field`` is None for a whole row."""

    code = "schema_mismatch"

    def __init__(self, message: str, field: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.row = row


class Plan(NamedTuple):
    """Where each field of the schema stands in a row; -1: absent, taken as null.

    ``whole`` is set where a row is already in the schema's order and nothing else.
    """

    indices: tuple[int, ...]
    width: int
    whole: bool


class Layout:
    """How one model reads rows. ``as_frame``: it was fitted on a DataFrame and needs its names."""

    def __init__(self, schema: InputSchema, *, as_frame: bool) -> None:
        self.schema = schema
        self._as_frame = as_frame
        self._fields = schema.fields
        # A float column of a DataFrame is a single precision one: then column by column.
        one_type = {FieldType.DOUBLE} if as_frame else {FieldType.DOUBLE, FieldType.FLOAT}
        self._real = all(field.type in one_type for field in schema.fields)
        numeric = all(field.type in DTYPES for field in schema.fields)
        # Made once: of names, pandas makes it anew for each frame, at the price of the frame.
        self._columns = pd.Index([field.name for field in schema.fields])
        self._dtype: type = np.float64 if numeric else np.object_
        # Not functools.lru_cache: with a method it makes a cycle, and a layout that is no longer
        # needed would wait for the cycle collector, which an agent runs seldom.
        self._plans: dict[tuple[str, ...] | None, Plan] = {}

    def plan(self, names: tuple[str, ...] | None) -> Plan:
        """Match the columns ``names`` to the schema; None: they are in its order.

        Extra columns are ignored, absent nullable ones are null. Raises FieldError for an absent
        required field and for a name that comes twice.
        """
        found = self._plans.get(names)
        if found is None:
            if len(self._plans) >= PLANS:
                self._plans.clear()
            found = self._plans[names] = self._match(names)
        return found

    def _match(self, names: tuple[str, ...] | None) -> Plan:
        width = len(self._fields)
        if names is None:
            return Plan(tuple(range(width)), width, whole=True)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise FieldError(f"field {twice!r} comes twice", twice)
        where = {name: index for index, name in enumerate(names)}
        indices = tuple(where.get(field.name, -1) for field in self._fields)
        for field, index in zip(self._fields, indices, strict=True):
            if index < 0 and not field.nullable:
                raise FieldError(f"required field {field.name!r} is missing", field.name)
        whole = indices == tuple(range(len(names)))
        return Plan(indices, len(names), whole)

    def build(self, tables: Sequence[tuple[Plan, Rows]], *, numeric: bool = False) -> Matrix:
        """Return the rows of all ``tables`` as one matrix of shape (rows, fields).

        ``numeric``: no text, truth value or null is among them (False: nobody has looked). Raises
        FieldError, naming the field and the row within all of them.
        """
        rows: list[Sequence[Any]] = []
        for plan, part in tables:
            if plan.whole:
                rows.extend(part)
            else:
                rows.extend(_picked(plan, part))
                numeric = False  # absent fields are null
        width = len(self._fields)
        if set(map(len, rows)) != {width}:
            row = next(at for at, values in enumerate(rows) if len(values) != width)
            raise FieldError(f"a row has {len(rows[row])} values, not {width}", None, row)
        # A set of types: one pass in C over every value.
        if self._real and (numeric or set(map(type, chain.from_iterable(rows))) <= _REAL):
            # An integer beyond a double overflows, lists and objects are no numbers: the slow way
            # below names it.
            with contextlib.suppress(OverflowError, TypeError, ValueError):
                values = np.array(rows, np.float64)
                if values.ndim == _MATRIX:
                    return self._matrix(values)
        columns = [
            _column(field, values)
            for field, values in zip(self._fields, zip(*rows, strict=True), strict=True)
        ]
        if self._as_frame:
            names = [field.name for field in self._fields]
            return pd.DataFrame(dict(zip(names, columns, strict=True)), copy=False)
        return np.column_stack([np.asarray(column, self._dtype) for column in columns])

    def _matrix(self, values: np.ndarray[Any, Any]) -> Matrix:
        if not self._as_frame:
            return values
        return pd.DataFrame(values, columns=self._columns, copy=False)


def _picked(plan: Plan, rows: Rows) -> list[list[Any]]:
    return [[row[at] if at >= 0 else None for at in plan.indices] for row in rows]


def _column(field: SchemaField, values: tuple[Any, ...]) -> Any:  # noqa: ANN401 - array or Series
    allowed = _ALLOWED[field.type]
    kinds = set(map(type, values))
    has_null = _NULL in kinds
    if not (kinds <= allowed or (field.nullable and kinds <= allowed | {_NULL})):
        raise _stranger(field, values, allowed)
    if (bits := _BITS.get(field.type)) is not None:
        _within(field, values, bits)
    if field.type is FieldType.STRING:
        return np.array([np.nan if value is None else value for value in values], np.object_)
    if field.type is FieldType.TIMESTAMP:
        return _timestamps(field, values)
    try:
        if field.type is FieldType.BOOLEAN and has_null:
            return np.array([np.nan if v is None else v for v in values], np.object_)
        if field.nullable and field.type is not FieldType.BOOLEAN:
            return np.array([np.nan if v is None else v for v in values], np.float64)
        return np.array(values, DTYPES[field.type])
    except OverflowError:
        row = next(at for at, value in enumerate(values) if value and abs(value) > 2**63)
        raise FieldError(
            f"field {field.name!r}: {str(values[row])[:40]} is too large for {field.type}",
            field.name,
            row,
        ) from None


def _stranger(field: SchemaField, values: tuple[Any, ...], allowed: frozenset[type]) -> FieldError:
    row = next(
        at
        for at, value in enumerate(values)
        if type(value) not in allowed and not (value is None and field.nullable)
    )
    value = values[row]
    if value is None:
        return FieldError(f"field {field.name!r} is null and must not be", field.name, row)
    return FieldError(
        f"field {field.name!r} is {field.type}, got {type(value).__name__} {str(value)[:40]!r}",
        field.name,
        row,
    )


def _within(field: SchemaField, values: tuple[Any, ...], bits: int) -> None:
    low, high = -(1 << bits), (1 << bits) - 1
    for row, value in enumerate(values):
        if value is not None and not low <= value <= high:
            raise FieldError(
                f"field {field.name!r}: {str(value)[:40]} is out of the range of {field.type}",
                field.name,
                row,
            )


def _timestamps(field: SchemaField, values: tuple[Any, ...]) -> Any:  # noqa: ANN401
    try:
        return pd.to_datetime(pd.Series(values, dtype="object"), utc=True, format="ISO8601")
    except (ValueError, OverflowError):
        for row, value in enumerate(values):
            try:
                pd.to_datetime(value, utc=True, format="ISO8601")
            except (ValueError, OverflowError):
                raise FieldError(
                    f"field {field.name!r}: {str(value)[:40]!r} is no RFC 3339 time",
                    field.name,
                    row,
                ) from None
        raise
