"""A place in the audit log: how far each partition has been read."""

import re
from collections.abc import Mapping

from schemas.errors import BatonError

_FORM = re.compile(r"\d{1,18}(\.\d{1,18})*", re.ASCII)


class CursorError(BatonError):
    """A text that is no place in this audit log."""

    code = "invalid_cursor"


class Cursor(tuple[int, ...]):
    """The sequence of the last event read of each partition; 0: none. Opaque to clients."""

    __slots__ = ()

    @classmethod
    def start(cls, partitions: int) -> "Cursor":
        """Return the place before the first event."""
        return cls((0,) * partitions)

    @classmethod
    def parse(cls, text: str, partitions: int) -> "Cursor":
        """Read what ``str`` has written. Raises CursorError."""
        if _FORM.fullmatch(text):
            numbers = cls(map(int, text.split(".")))
            if len(numbers) == partitions:
                return numbers
        raise CursorError(
            f"{text[:40]!r} is no place in this log: send an id that an event stream or a list of "
            "events gave, unchanged"
        )

    def past(self, partition: int, sequence: int) -> "Cursor":
        """Return this place with ``partition`` read up to ``sequence``."""
        return Cursor((*self[:partition], max(self[partition], sequence), *self[partition + 1 :]))

    def lacks(self, other: "Cursor") -> bool:
        """Return whether some of what lies before ``other`` lies behind this place."""
        return any(mine < theirs for mine, theirs in zip(self, other, strict=True))

    def within(self, newest: Mapping[int, int]) -> "Cursor":
        """Return this place, where it lies behind the log's end that end."""
        return Cursor(min(sequence, newest[number]) for number, sequence in enumerate(self))

    def __str__(self) -> str:
        return ".".join(map(str, self))
