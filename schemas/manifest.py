"""The manifest: what is known of a model, and travels with it wherever it is promoted."""

import math
from collections import Counter
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)

from schemas.ids import Id


class FieldType(StrEnum):
    """The type of a field: the scalar types of MLflow's signatures, with ``timestamp``."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"
    TIMESTAMP = "timestamp"


# MLflow's schema enforcement: int→long, int→double, float→double; never what loses digits.
WIDENINGS = frozenset(
    {
        (FieldType.INTEGER, FieldType.LONG),
        (FieldType.INTEGER, FieldType.DOUBLE),
        (FieldType.FLOAT, FieldType.DOUBLE),
    }
)


class _Part(BaseModel):
    # A typo in a command must not be silently ignored: unknown fields are refused by name.
    model_config = ConfigDict(frozen=True, extra="forbid")


class SchemaField(_Part):
    """One input field. ``nullable`` fields may be null or absent in a request."""

    name: Annotated[str, Field(min_length=1, max_length=512)]
    type: FieldType
    nullable: bool = False


class InputSchema(_Part):
    """The fields that a model reads, in the order the estimator was fitted on."""

    fields: Annotated[tuple[SchemaField, ...], Field(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> "InputSchema":
        counts = Counter(field.name for field in self.fields)
        repeated = sorted(name for name, count in counts.items() if count > 1)
        if repeated:
            raise ValueError(f"field names repeat: {', '.join(repeated)}")
        return self


# JSON has no NaN and no infinity: what takes one in could be written and never read again.
Finite = Annotated[float, Field(allow_inf_nan=False)]
ClassLabel = StrictBool | StrictInt | Annotated[Finite, Field(strict=True)] | StrictStr


class OutputSchema(_Part):
    """What a model answers. ``classes`` are in the order of the probabilities."""

    task: Annotated[str, Field(min_length=1, max_length=64)]
    classes: tuple[ClassLabel, ...] | None = None


class Framework(_Part):
    """The library that made the model, and its version."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    version: Annotated[str, Field(min_length=1, max_length=64)]


_CELL = frozenset({bool, int, float, str, type(None)})
# Checked below for a whole sample at once.
Cell = Annotated[Any, WithJsonSchema({"type": ["boolean", "number", "string", "null"]})]


class Sample(_Part):
    """A few rows that the verification predicts on. ``values`` has a list of scalars per row."""

    fields: tuple[str, ...]
    values: Annotated[tuple[tuple[Cell, ...], ...], Field(max_length=1000)]

    @model_validator(mode="after")
    def _rows_fit(self) -> "Sample":
        for index, row in enumerate(self.values):
            if len(row) != len(self.fields):
                raise ValueError(f"row {index} has {len(row)} values for {len(self.fields)} fields")
        # A set of types: one pass in C. Nested lists could be deeper than a record may be read.
        strangers = set(map(type, chain.from_iterable(self.values))) - _CELL
        if strangers:
            kinds = ", ".join(sorted(kind.__name__ for kind in strangers))
            raise ValueError(f"a value is a boolean, number, string or null, not {kinds}")
        if any(type(v) is float and not math.isfinite(v) for row in self.values for v in row):
            raise ValueError("a value is a finite number; what is missing is null")
        return self


class Manifest(_Part):
    """A saved model: names, location and digest of its file, schema, metrics and sample rows."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    tags: tuple[str, ...] = ()
    uri: Annotated[str, Field(min_length=1, max_length=2048)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)] | None = None
    format: Literal["joblib"] = "joblib"
    framework: Framework
    input_schema: InputSchema | None = None
    output_schema: OutputSchema | None = None
    metrics: dict[str, Finite] = Field(default_factory=dict)
    sample: Sample | None = None
    project_id: Id | None = None
    model_id: Id | None = None
