"""What a worker counts, once a transaction."""

import time
from collections import Counter as Counts
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge, Histogram

from schemas.events import EventName
from telemetry.metrics import LATENCIES_S, SIZES, Lag, Latencies, new_registry


@dataclass(slots=True)
class Tally:
    """What a transaction did: commands by name and outcome, events by name, dead letters."""

    commands: Counts[tuple[str, str]] = field(default_factory=Counts)
    events: Counts[EventName] = field(default_factory=Counts)
    dead_letters: int = 0


class WorkerMetrics:
    """The metrics of one worker, in a registry of their own; docs/operations.md lists them."""

    def __init__(self) -> None:
        self.registry = new_registry()
        of = self.registry
        self._commands = Counter(
            "baton_worker_commands",
            "Commands by what became of them: accepted (its verification follows), done, failed, "
            "repeated (without effect), forwarded (to its partition), or the rejection's code.",
            ["command", "outcome"],
            registry=of,
        )
        events = Counter(
            "baton_worker_events", "Events written to the audit log.", ["event"], registry=of
        )
        self._events = {name: events.labels(name.value) for name in EventName}
        self._dead_letters = Counter(
            "baton_worker_dead_letters", "Records that are no commands.", registry=of
        )
        self._latency = Latencies(
            "baton_worker_latency_seconds",
            "From the append of a command to the commit of its decision.",
            of,
        )
        self.batch = Histogram(
            "baton_worker_batch_commands",
            "Commands applied in one transaction.",
            buckets=SIZES,
            registry=of,
        )
        self.transaction = Histogram(
            "baton_worker_transaction_seconds",
            "A commit of events, records and cursor.",
            buckets=LATENCIES_S,
            registry=of,
        )
        self.partitions = Gauge(
            "baton_worker_partitions", "Commands partitions that this worker owns.", registry=of
        )
        self.lag = Lag(
            "baton_worker_lag_commands",
            "Commands that wait to be applied.",
            of,
        )
        verification = Histogram(
            "baton_worker_verification_seconds",
            "A candidate's verification.",
            ["result"],
            buckets=LATENCIES_S,
            registry=of,
        )
        self._verification = {
            passed: verification.labels("passed" if passed else "failed")
            for passed in (True, False)
        }
        self.verifying = Gauge(
            "baton_worker_verifications_running", "Verifications under way.", registry=of
        )

    def committed(self, tally: Tally, took_s: float) -> None:
        """Count a transaction."""
        self.transaction.observe(took_s)
        for (command, outcome), count in tally.commands.items():
            # Both are the names of a table, never a producer's text.
            self._commands.labels(command, outcome).inc(count)
        for name, count in tally.events.items():
            self._events[name].inc(count)
        self._dead_letters.inc(tally.dead_letters)

    def applied(self, arrived_ms: Sequence[int]) -> None:
        """Count the commands of a transaction, by the times of their append."""
        self.batch.observe(len(arrived_ms))
        self._latency.observe_ms(time.time_ns() // 1_000_000, arrived_ms)

    def verified(self, took_s: float, *, passed: bool) -> None:
        """Count a verification."""
        self._verification[passed].observe(took_s)
