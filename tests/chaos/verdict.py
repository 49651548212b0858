"""What the checker says: counts, and each breach with the few notes and records that show it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

# A fault breaks many things at once: the first of each kind is enough to understand it.
SHOWN_OF_A_KIND = 2


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was broken: its ``name``, one line, and the sub-history that shows it."""

    name: str
    says: str
    shown: tuple[object, ...] = ()

    def __str__(self) -> str:
        return "\n".join(
            [f"BREACH {self.name}: {self.says}", *(f"    {one}" for one in self.shown)]
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """``counts`` of what was looked at, and the ``breaches``: none is what is wanted."""

    counts: dict[str, int]
    breaches: tuple[Breach, ...]

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not self.breaches

    @property
    def names(self) -> set[str]:
        """The names of the breaches."""
        return {breach.name for breach in self.breaches}

    def __str__(self) -> str:
        kinds = Counter(breach.name for breach in self.breaches)
        told = ", ".join(f"{name} ({count})" for name, count in kinds.items())
        lines = [f"VERDICT {'broken: ' + told if kinds else 'every promise was kept'}"]
        lines.append("  ".join(f"{name} {count}" for name, count in self.counts.items()))
        return "\n".join([*lines, *(str(breach) for breach in _first_of_each(self.breaches))])


def _first_of_each(breaches: Iterable[Breach]) -> Iterable[Breach]:
    seen: Counter[str] = Counter()
    for breach in breaches:
        seen[breach.name] += 1
        if seen[breach.name] <= SHOWN_OF_A_KIND:
            yield breach
