"""What a scoring agent counts. Once a batch, never once a request: that would cost more than it."""

import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.scoring import ScoringCode
from scoring.replies import DeadLetter, Refusal
from telemetry.metrics import LATENCIES_S, SIZES, Deployments, Lag, Latencies, new_registry
from transport.transactions import Write

MAX_DEPLOYMENTS = 100


class ScoringMetrics:
    """The metrics of one agent, in a registry of their own; docs/operations.md lists them.

    ``max_deployments`` bounds those that have a deployment's ID for a label.
    """

    def __init__(self, max_deployments: int = MAX_DEPLOYMENTS) -> None:
        self.registry = new_registry()
        of = self.registry
        answers = Counter(
            "baton_scoring_answers",
            "Requests answered: ok, or the error's code.",
            ["outcome"],
            registry=of,
        )
        self._ok = answers.labels("ok")
        # Each is there from the start: the rate of what has never been is not known.
        self._errors = {code: answers.labels(code.value) for code in ScoringCode}
        self._dead_letters = _counter(of, "dead_letters", "Requests that nobody can be told about.")
        self._latency = Latencies(
            "baton_scoring_latency_seconds",
            "From the append of a request to the commit of its answer.",
            of,
        )
        self.batch = Histogram(
            "baton_scoring_batch_requests",
            "Requests fetched at once.",
            buckets=SIZES,
            registry=of,
        )
        self.transaction = _seconds(of, "transaction", "A commit of answers and offsets.")
        self.fenced = _counter(of, "fenced", "Partitions lost to another agent.")
        self.partitions = _gauge(of, "partitions", "Requests partitions assigned to this agent.")
        self.late = _gauge(
            of, "late_requests", "Requests passed over for now: their model is slow."
        )
        self.lag = Lag(
            "baton_scoring_lag_requests",
            "Requests of a partition that wait for their answer.",
            of,
        )
        self.deployments = Deployments(of, max_deployments)
        self.predict = _seconds(
            of, "predict", "One call of a model: up to 2,000 rows, or one request."
        )
        self.hits = _counter(of, "model_cache_hits", "Look-ups of a model that found it loaded.")
        self.loads = _counter(of, "model_loads", "Models loaded.")
        self.load_failures = _counter(of, "model_load_failures", "Models that cannot be loaded.")
        self.load = _seconds(of, "model_load", "Loading a model.")
        self.evictions = _counter(of, "model_cache_evictions", "Models unloaded to make room.")
        self.models = _gauge(of, "models_loaded", "Models loaded now.")
        self.restarts = _counter(of, "model_restarts", "Models loaded again: their process ended.")
        ends = Counter(
            "baton_scoring_model_process_ends",
            "Model processes that crashed (died) or were killed for being slow (overdue).",
            ["cause"],
            registry=of,
        )
        self.died = ends.labels("died")
        self.overdue = ends.labels("overdue")
        self._quarantined = _gauge(of, "models_quarantined", "Models in quarantine now.")

    def committed(self, writes: Sequence[Write], arrived_ms: Sequence[int], took_s: float) -> None:
        """Count a batch whose answers are in the log: ``arrived_ms`` are its requests' times."""
        self.transaction.observe(took_s)
        self._latency.observe_ms(time.time_ns() // 1_000_000, arrived_ms)
        kinds = Tally(map(type, writes))
        self._ok.inc(kinds[Write])
        if kinds[DeadLetter]:
            self._dead_letters.inc(kinds[DeadLetter])
        if kinds[Refusal]:
            codes = Tally(write.code for write in writes if isinstance(write, Refusal))
            for code, count in codes.items():
                self._errors[code].inc(count)

    def watch_quarantine(self, count: Callable[[], int]) -> None:
        """Ask ``count``, from another thread, how many models are in quarantine."""
        self._quarantined.set_function(count)


def _counter(registry: CollectorRegistry, name: str, documentation: str) -> Counter:
    return Counter(f"baton_scoring_{name}", documentation, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, documentation: str) -> Gauge:
    return Gauge(f"baton_scoring_{name}", documentation, registry=registry)


def _seconds(registry: CollectorRegistry, name: str, documentation: str) -> Histogram:
    name = f"baton_scoring_{name}_seconds"
    return Histogram(name, documentation, buckets=LATENCIES_S, registry=registry)
