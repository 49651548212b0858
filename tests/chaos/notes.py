"""What clients noted while it happened: one JSON line a note, in a file for each client.

Times are ``time.monotonic_ns()``: one clock for all processes of a Linux machine. A line is written
with one system call before the next thing is done, so a client killed with -9 keeps what it noted.

invoke         a command is about to be published: source, id, name, partition, home (its space's)
published      the broker acknowledged it: source, id, partition, offset (None: had it already)
not-published  the broker refused it: source, id, error
outcome        its final event came: source, id, event
no-outcome     it did not come within a minute: source, id
seen           an event was seen: partition, sequence, event, deployment, value (``log.announced``)
ask            a request is about to be sent: id, deployment, partition, kind, expect (error codes
               that are right; "" for none)
asked          the broker acknowledged it: id, partition, offset
not-asked      the broker refused it: id, error
answer         its answer came: id, partition, offset, deployment, value (``log.shown``)
committed      the scoring group's offset: partition, offset
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Note:
    """One thing a client did or saw. ``at`` is when, in ns of the machine's monotonic clock."""

    at: int
    client: str
    what: str
    facts: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.facts.get(name)

    def __str__(self) -> str:
        told = " ".join(
            f"{name}={value}" for name, value in self.facts.items() if value is not None
        )
        return f"{self.at / 1e9:.3f} s  {self.client}  {self.what}  {told}"


class Notebook:
    """A client's notes on disk; without a file they are kept in memory alone."""

    def __init__(self, client: str, path: Path | None = None) -> None:
        self.client = client
        self.notes: list[Note] = []
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, what: str, **facts: Any) -> int:
        """Note it now; the time noted."""
        at = time.monotonic_ns()
        if self._file is None:
            self.notes.append(Note(at, self.client, what, facts))
        else:
            line = json.dumps({"at": at, "client": self.client, "what": what, "facts": facts})
            os.write(self._file, f"{line}\n".encode())
        return at


def read_notes(paths: Iterable[Path]) -> Iterator[Note]:
    """Yield the notes of all files; a last line that a kill has cut short is left out."""
    for path in paths:
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield Note(**json.loads(line))
