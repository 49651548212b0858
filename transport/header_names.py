"""Header names that are not UTF-8: read all the same.

Kafka's protocol calls a header's name a string, and its broker takes any bytes. aiokafka 0.14
raises UnicodeDecodeError where it reads such a record, and would do so again in every successor:
one record of one producer would end the reading of its partition for good.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


def read_any_header_name() -> None:
    """Let this process's consumers read every record; an odd byte of a name becomes its escape."""
    fetcher.MemoryRecords = _Records


class _Records:
    """aiokafka's MemoryRecords: the record batches in what a fetch brought."""

    def __init__(self, data: bytes) -> None:
        self._fast = MemoryRecords(data)
        # The same batches again; cut, not parsed.
        self._slices = _MemoryRecordsPy(data)

    def has_next(self) -> bool:
        return bool(self._fast.has_next())

    def size_in_bytes(self) -> int:
        return int(self._fast.size_in_bytes())

    def next_batch(self) -> "_Batch":
        data = self._slices._next_slice  # noqa: SLF001 - it has no other name
        self._slices._cache_next()  # noqa: SLF001
        return _Batch(self._fast.next_batch(), data)


class _Batch:
    """A record batch as aiokafka reads it, or where it cannot, as its slower reader does."""

    def __init__(self, fast: Any, data: Any) -> None:  # noqa: ANN401 - aiokafka's
        self._fast = fast
        self._data = data

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a batch has
        return getattr(self._fast, name)

    def __next__(self) -> Any:  # noqa: ANN401 - a control record: it has no headers
        return next(self._fast)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._fast))
        except UnicodeDecodeError:
            slow = _DefaultRecordBatchPy(self._data)
            slow._maybe_uncompress()  # noqa: SLF001 - so that it is not done again
            slow._buffer = _Lenient(slow._buffer)  # noqa: SLF001
            return iter(slow)


class _Lenient(bytearray):
    """Bytes whose text can always be read."""

    def __getitem__(self, where: Any) -> Any:  # noqa: ANN401 - an index or a slice
        found = super().__getitem__(where)
        return _Lenient(found) if isinstance(where, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "") -> str:
        del errors
        return bytes(self).decode(encoding, "backslashreplace")
