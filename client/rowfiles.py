"""Rows of a CSV or Parquet file, one by one, as a deployment's input schema takes them."""

import csv
import io
import math
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from schemas.errors import BatonError
from schemas.manifest import FieldType, InputSchema

CSV = frozenset({".csv", ".txt"})
PARQUET = frozenset({".parquet", ".pq"})
# What stands in a CSV file for a number that is missing; nothing at all does so for a text, too.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
# Read at once of a Parquet file.
BATCH = 1000

Row = dict[str, Any]


class RowFile:
    """The rows of the file at ``path``, a dict each; ``schema`` says what a CSV's texts mean.

    A text that is no value of its field's type stays a text: whoever scores it says what is wrong.
    Raises BatonError where the file is neither CSV nor Parquet, or cannot be read.
    """

    def __init__(self, path: Path, schema: InputSchema) -> None:
        self.path = path
        self._read_as = {field.name: _READERS[field.type] for field in schema.fields}
        self._bytes = max(path.stat().st_size, 1)
        self._kind = path.suffix.lower()
        if self._kind not in CSV | PARQUET:
            raise BatonError(f"{path} should be CSV or Parquet: end with .csv or .parquet")
        # How much of the file has been read, from 0 to 1.
        self.fraction = 0.0

    def columns(self) -> list[str]:
        """Return the names of the columns."""
        if self._kind in CSV:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                found = next(csv.reader(file), [])
        else:
            found = list(_parquet(self.path).schema_arrow.names)
        if not found:
            raise BatonError(f"{self.path} has no columns: a CSV's first line names them")
        if len(set(found)) < len(found):
            raise BatonError(f"{self.path} names a column twice: {', '.join(found)}")
        return found

    def rows(self, skip: int = 0) -> Iterator[Row]:
        """Yield the rows behind the first ``skip``."""
        try:
            yield from self._csv(skip) if self._kind in CSV else self._parquet(skip)
        except (csv.Error, UnicodeDecodeError, ValueError, OSError) as error:
            raise BatonError(f"cannot read {self.path}: {error}") from error
        self.fraction = 1.0

    def _csv(self, skip: int) -> Iterator[Row]:
        with self.path.open("rb") as raw, io.TextIOWrapper(
            raw, encoding="utf-8-sig", newline=""
        ) as text:  # fmt: skip
            lines = csv.reader(text)
            names = next(lines, [])
            readers = [self._read_as.get(name, _text) for name in names]
            for number, line in enumerate(filter(None, lines), 1):
                if number <= skip:
                    continue
                if len(line) != len(names):
                    raise BatonError(
                        f"{self.path}, row {number}: {len(line)} cells, {len(names)} columns"
                    )
                yield {
                    name: read(cell) for name, read, cell in zip(names, readers, line, strict=True)
                }
                self.fraction = raw.tell() / self._bytes

    def _parquet(self, skip: int) -> Iterator[Row]:
        file = _parquet(self.path)
        total = max(file.metadata.num_rows, 1)
        number = 0
        for batch in file.iter_batches(batch_size=BATCH):
            if number + batch.num_rows <= skip:
                number += batch.num_rows
                continue
            for row in batch.to_pylist():
                number += 1
                if number > skip:
                    yield {name: _plain(value) for name, value in row.items()}
                    self.fraction = number / total


def _parquet(path: Path) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415 - slow to import

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise BatonError(f"cannot read {os.fspath(path)} as Parquet: {error}") from error


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a Parquet file holds
    """Return a cell as a JSON value."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value)
    isoformat = getattr(value, "isoformat", None)
    return value if isoformat is None else isoformat()


def _float(text: str) -> Any:  # noqa: ANN401 - a number, nothing, or the text
    if text.strip().lower() in _MISSING:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _int(text: str) -> Any:  # noqa: ANN401 - a number, nothing, or the text
    try:
        return int(text)
    except ValueError:
        # A column of integers with gaps is often written as 3.0.
        number = _float(text)
        return int(number) if isinstance(number, float) and number.is_integer() else number


def _bool(text: str) -> Any:  # noqa: ANN401 - a truth value, nothing, or the text
    lower = text.strip().lower()
    if lower in _MISSING:
        return None
    return {"true": True, "1": True, "false": False, "0": False}.get(lower, text)


def _text(text: str) -> str | None:
    return text or None


_READERS: dict[FieldType, Callable[[str], Any]] = {
    FieldType.BOOLEAN: _bool,
    FieldType.INTEGER: _int,
    FieldType.LONG: _int,
    FieldType.FLOAT: _float,
    FieldType.DOUBLE: _float,
    FieldType.STRING: _text,
    FieldType.TIMESTAMP: _text,
}
