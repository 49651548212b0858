"""The clients' side: a steady stream of requests, and what became of each."""

import asyncio
import itertools
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from client import ScoringClient
from client.errors import ScoringError
from schemas.scoring import REQUEST_ID
from transport.reading import partitions_of, read
from transport.settings import Settings

TICK_S = 0.01


@dataclass(slots=True)
class Sent:
    """A request: ``floor`` is the revision that an event had announced before it was sent."""

    at: float
    floor: int
    latency_s: float | None = None
    revision: int | None = None
    error: str | None = None


@dataclass(slots=True)
class Traffic:
    """A client that sends ``rate`` requests a second to one deployment until it is stopped.

    With ``max_in_flight`` answers under way it waits, and sends fewer.
    """

    client: ScoringClient
    deployment_id: str
    fields: Sequence[str]
    rows: Sequence[Sequence[Any]]
    rate: int
    floor: int
    max_in_flight: int | None = None
    ledger: dict[str, Sent] = field(default_factory=dict)
    answered: int = 0
    _running: set["asyncio.Task[None]"] = field(default_factory=set)
    _driver: "asyncio.Task[None] | None" = None

    def start(self) -> None:
        """Begin to send."""
        self._driver = asyncio.create_task(self._drive())

    async def stop(self) -> None:
        """Send no more and wait for the answers under way."""
        if self._driver is not None:
            self._driver.cancel()
            await asyncio.gather(self._driver, return_exceptions=True)
        await asyncio.gather(*self._running)

    async def until_answered(self, count: int) -> None:
        """Wait until ``count`` more requests have been answered."""
        goal = self.answered + count
        while self.answered < goal:  # noqa: ASYNC110 - each tick brings several
            await asyncio.sleep(TICK_S)

    def revisions(self) -> Counter[int]:
        """Return the number of answers by revision."""
        return Counter(sent.revision for sent in self.ledger.values() if sent.revision is not None)

    def stale(self) -> int:
        """Return how many were answered by a revision older than one announced before."""
        return sum(
            sent.revision < sent.floor for sent in self.ledger.values() if sent.revision is not None
        )

    def latencies_ms(self, begin: float, end: float) -> tuple[int, float, float]:
        """Return count, p50 and p99 (ms) of what was sent between two times."""
        found = sorted(
            1000 * sent.latency_s
            for sent in self.ledger.values()
            if begin <= sent.at < end and sent.latency_s is not None
        )
        if not found:
            return 0, float("nan"), float("nan")
        return len(found), statistics.median(found), found[int(0.99 * (len(found) - 1))]

    async def _drive(self) -> None:
        begun, run = time.monotonic(), uuid.uuid4().hex[:8]
        for number in itertools.count():
            due = begun + number / self.rate
            # In bunches: the event loop's clock is coarser than the rate.
            if due > time.monotonic():
                await asyncio.sleep(max(TICK_S, due - time.monotonic()))
            while self.max_in_flight is not None and len(self._running) >= self.max_in_flight:
                await asyncio.sleep(TICK_S)
                begun += TICK_S
            task = asyncio.create_task(self._one(f"{run}-{number}", number))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _one(self, request_id: str, number: int) -> None:
        row = self.rows[number % len(self.rows)]
        sent = self.ledger[request_id] = Sent(time.monotonic(), self.floor)
        try:
            result = await self.client.score(
                self.deployment_id, [row], fields=self.fields, request_id=request_id
            )
            sent.revision = result.revision
        except (ScoringError, TimeoutError) as error:
            sent.error = str(error)
            if isinstance(error, TimeoutError):
                return
        sent.latency_s = time.monotonic() - sent.at
        self.answered += 1


async def answers(settings: Settings) -> Counter[str]:
    """Read the whole responses topic, as any consumer may, and count the answers to each id."""
    found: Counter[str] = Counter()
    where = partitions_of(settings.topics.responses)
    async for record in read(settings.bootstrap_servers, where):
        found[dict(record.headers)[REQUEST_ID].decode()] += 1
    return found
