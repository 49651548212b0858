"""Where a partition stands: its committed offset, and what the commit's metadata says besides."""

from dataclasses import dataclass

from aiokafka.structs import OffsetAndMetadata

from scoring import owed

_HOLDER = "by1:"


@dataclass(frozen=True, slots=True)
class Place:
    """``offset``: all requests before it are answered but those ``owed``.

    ``holder`` is the term (scoring.delivery) that has taken the partition; "" where none has.
    """

    offset: int
    owed: frozenset[int] = frozenset()
    holder: str = ""

    @classmethod
    def read(cls, committed: OffsetAndMetadata) -> "Place":
        """Return the place that was committed; of another program's metadata nothing is taken."""
        words = (committed.metadata or "").split()
        holders = [word.removeprefix(_HOLDER) for word in words if word.startswith(_HOLDER)]
        missing = frozenset[int]().union(*map(owed.decode, words))
        return cls(committed.offset, missing, holders[0] if holders else "")

    def written(self) -> OffsetAndMetadata:
        """Return what is to be committed."""
        words = [f"{_HOLDER}{self.holder}" if self.holder else "", owed.encode(self.owed)]
        return OffsetAndMetadata(self.offset, " ".join(filter(None, words)))
