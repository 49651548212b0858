"""The scored rows as they come, kept so that a run that was interrupted goes on where it stopped.

Beside ``OUT`` lie ``OUT.partial``, the rows so far as JSON Lines, and ``OUT.progress``, which says
how many of its rows and bytes count. Bytes beyond are cut off by the next run: a row is in the file
once, wherever the last run died. At the end the rows become ``OUT``, whole, and both go.
"""

import csv
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from schemas.errors import BatonError

KINDS = (".csv", ".parquet", ".jsonl")
# Of a row: what stands before and behind the columns that are kept of the input.
NUMBER = "row"
SCORED = ("prediction", "probability", "asset_id", "revision", "error_code", "error_message")
GROUP = 10_000
PRINT_BYTES = 1024 * 1024

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is of: another input, deployment or choice of columns is another run."""

    fingerprint: str
    deployment_id: str
    keep: tuple[str, ...] = ()
    limit: int | None = None


class ScoredFile:
    """Rows on their way to ``goal``. ``rows`` and ``errors`` count what is kept already.

    Raises BatonError where ``goal`` exists, or where what lies there is of another run; ``restart``
    throws both away.
    """

    def __init__(self, goal: Path, plan: Plan, *, restart: bool = False) -> None:
        if goal.suffix.lower() not in KINDS:
            raise BatonError(f"{goal} should end with one of {', '.join(KINDS)}")
        self._goal = goal
        self.plan = plan
        self._partial = goal.with_name(f"{goal.name}.partial")
        self._progress = goal.with_name(f"{goal.name}.progress")
        self.rows = 0
        self.errors = 0
        self._bytes = 0
        self.columns = (NUMBER, *plan.keep, *SCORED)
        if goal.exists() and not restart:
            raise BatonError(f"{goal} exists already: give another --out, or --restart")
        self._file = self._opened(restart=restart)

    def add(self, rows: Sequence[Row]) -> None:
        """Keep the next rows."""
        for row in rows:
            self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            self.errors += row["error_code"] is not None
        self.rows += len(rows)

    def save(self) -> None:
        """Make what was added outlast this process, and the machine."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._bytes = self._file.tell()
        document = {
            "plan": asdict(self.plan) | {"keep": list(self.plan.keep)},
            "rows": self.rows,
            "errors": self.errors,
            "bytes": self._bytes,
        }
        scratch = self._progress.with_name(f".{self._progress.name}.{os.getpid()}")
        scratch.write_text(json.dumps(document))
        scratch.replace(self._progress)

    def close(self) -> None:
        """Leave what is there for the next run."""
        self._file.close()

    def finish(self) -> None:
        """Make ``goal`` of the rows; it is whole, or not there."""
        self.save()
        kind = self._goal.suffix.lower()
        scratch = self._goal.with_name(f".{self._goal.name}.{os.getpid()}")
        if kind == ".jsonl":
            scratch = self._partial
        elif kind == ".csv":
            self._write_csv(scratch)
        else:
            self._write_parquet(scratch)
        scratch.replace(self._goal)
        self._progress.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)
        self.close()

    def _opened(self, *, restart: bool) -> IO[bytes]:
        self._goal.parent.mkdir(parents=True, exist_ok=True)
        file = self._partial.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise BatonError(f"another run is writing {self._partial}") from None
        try:
            if not restart and self._progress.exists():
                self._go_on()
            file.truncate(self._bytes)
            file.seek(0, os.SEEK_END)
        except BaseException:
            file.close()
            raise
        return file

    def _go_on(self) -> None:
        known = json.loads(self._progress.read_text())
        ours = asdict(self.plan) | {"keep": list(self.plan.keep)}
        other = [name for name in ours if known["plan"].get(name) != ours[name]]
        if other:
            raise BatonError(
                f"{self._progress} is of another run ({', '.join(other)} differ): run that one to "
                "its end, or begin anew with --restart"
            )
        if self._partial.stat().st_size < known["bytes"]:
            raise BatonError(f"{self._partial} has lost its end: begin anew with --restart")
        self.rows, self.errors, self._bytes = known["rows"], known["errors"], known["bytes"]

    def _kept(self) -> Iterator[Row]:
        with self._partial.open("rb") as lines:
            for line in lines:
                yield json.loads(line)

    def _write_csv(self, goal: Path) -> None:
        with goal.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            for row in self._kept():
                shares = row["probability"]
                text = None if shares is None else json.dumps(shares)
                writer.writerow(row | {"probability": text})

    def _write_parquet(self, goal: Path) -> None:
        import pyarrow as pa  # noqa: PLC0415 - slow to import
        import pyarrow.parquet as pq  # noqa: PLC0415 - slow to import

        kinds: dict[str, set[type]] = {name: set() for name in self.columns}
        for row in self._kept():
            for name, value in row.items():
                kinds[name].add(type(value))
        known = {
            NUMBER: pa.int64(),
            "probability": pa.list_(pa.float64()),
            "asset_id": pa.string(),
            "revision": pa.int64(),
            "error_code": pa.string(),
            "error_message": pa.string(),
        }
        types = {name: known.get(name) or _arrow_type(pa, kinds[name]) for name in self.columns}
        texts = [n for n, kind in types.items() if kind == pa.string() and kinds[n] - _TEXT]
        schema = pa.schema(list(types.items()))
        with pq.ParquetWriter(goal, schema) as writer:
            group: list[Row] = []
            for row in self._kept():
                for name in texts:
                    if row[name] is not None and not isinstance(row[name], str):
                        row[name] = json.dumps(row[name], ensure_ascii=False)
                group.append(row)
                if len(group) >= GROUP:
                    writer.write_table(pa.Table.from_pylist(group, schema))
                    group.clear()
            writer.write_table(pa.Table.from_pylist(group, schema))


_TEXT = {str, type(None)}


def _arrow_type(pa: Any, kinds: set[type]) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the narrowest type that holds values of these ``kinds``; of mixed ones, text."""
    found = kinds - {type(None)}
    if found == {bool}:
        return pa.bool_()
    if found == {int}:
        return pa.int64()
    if found and found <= {int, float}:
        return pa.float64()
    return pa.string()


def fingerprint(path: Path) -> str:
    """Return what tells the file at ``path`` from another, or from itself once it was changed.

    A digest of its size, its first and its last MiB: a file of a terabyte is not read twice.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(PRINT_BYTES))
        file.seek(max(size - PRINT_BYTES, 0))
        digest.update(file.read(PRINT_BYTES))
    return digest.hexdigest()
