"""The audit log as a file: CSV, Parquet or JSON Lines, written as the events come."""

import csv
import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from client.audit import AuditEvent
from client.history import COLUMNS, flat
from schemas.errors import BatonError

KINDS = (".csv", ".parquet", ".jsonl")
# Rows of one row group: what is in memory at most.
GROUP = 10_000

_INTEGERS = frozenset({"revision", "partition", "sequence"})
_BOOLEANS = frozenset({"passed"})


class EventFile:
    """Events, a row each (client.history.flat); JSON Lines have the whole event.

    A ``with`` block writes beside ``goal`` and renames at its end: ``goal`` is whole, or as it
    was. Raises BatonError for a name of no known kind.
    """

    def __init__(self, goal: Path) -> None:
        self._kind = goal.suffix.lower()
        if self._kind not in KINDS:
            raise BatonError(f"{goal} should end with one of {', '.join(KINDS)}")
        self._goal = goal
        self._scratch = goal.with_name(f".{goal.name}.{os.getpid()}")
        self._rows: list[dict[str, Any]] = []
        self._text: IO[str] | None = None
        self._csv: csv.DictWriter[str] | None = None
        self._parquet: Any = None

    def __enter__(self) -> Self:
        if self._kind != ".parquet":
            self._text = self._scratch.open("w", newline="", encoding="utf-8")
        if self._kind == ".csv" and self._text is not None:
            self._csv = csv.DictWriter(self._text, COLUMNS)
            self._csv.writeheader()
        return self

    def write(self, event: AuditEvent) -> None:
        """Add an event."""
        if self._csv is not None:
            self._csv.writerow(flat(event))
        elif self._text is not None:
            self._text.write(json.dumps(event.as_json(), ensure_ascii=False) + "\n")
        else:
            self._rows.append(flat(event))
            if len(self._rows) >= GROUP:
                self._flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and self._kind == ".parquet":
            self._flush()
        for file in (self._text, self._parquet):
            if file is not None:
                file.close()
        if error is None:
            self._scratch.replace(self._goal)
        else:
            self._scratch.unlink(missing_ok=True)

    def _flush(self) -> None:
        import pyarrow as pa  # noqa: PLC0415 - slow to import
        import pyarrow.parquet as pq  # noqa: PLC0415 - slow to import

        schema = pa.schema([(name, _arrow_type(pa, name)) for name in COLUMNS])
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._scratch, schema)
        if self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, schema))
        self._rows.clear()


def _arrow_type(pa: Any, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    if name in _INTEGERS:
        return pa.int64()
    return pa.bool_() if name in _BOOLEANS else pa.string()
