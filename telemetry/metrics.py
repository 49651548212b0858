"""What the metrics of every process have in common, and kinds that the library lacks."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from telemetry.health import Health, Stage

# From an answer without a transaction to a model that takes all of its time, in seconds.
LATENCIES_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 8000)
# From here on NumPy is quicker than Python (measured), and for a handful slower.
MANY = 32


def new_registry() -> CollectorRegistry:
    """Return a registry of its own with what every process shows of itself."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    try:
        built = version("baton")
    except PackageNotFoundError:
        built = "unknown"
    Gauge("baton_build_info", "Baton's version.", ["version"], registry=registry).labels(built).set(
        1
    )
    return registry


def show_health(registry: CollectorRegistry, health: Health) -> None:
    """Add ``baton_ready``: what /health/ready says."""
    ready = Gauge("baton_ready", "1 while the process serves, as /health/ready.", registry=registry)
    ready.set_function(lambda: float(health.stage is Stage.READY))


class Latencies(Collector):
    """A histogram that takes a batch's values at once.

    The library's own takes them one by one, each in a microsecond or two: that would be a tenth of
    what a request costs. Only the event loop adds; other threads read.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        registry: CollectorRegistry,
        bounds: Sequence[float] = LATENCIES_S,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = list(bounds)
        # One object, replaced as a whole: who reads it from another thread sees one moment's.
        self._state: tuple[list[int], float] = ([0] * (len(bounds) + 1), 0.0)
        registry.register(self)

    def observe_ms(self, now_ms: int, since_ms: Sequence[int]) -> None:
        """Add the time from each of ``since_ms`` to ``now_ms``, in milliseconds of the epoch.

        Clocks of two machines: what lies ahead counts as 0.
        """
        counts, total = self._state
        counts = counts.copy()
        if len(since_ms) < MANY:
            for since in since_ms:
                seconds = max(now_ms - since, 0) / 1000
                counts[bisect_left(self._bounds, seconds)] += 1
                total += seconds
        else:
            values = np.maximum(now_ms - np.array(since_ms, np.int64), 0) / 1000
            places = np.searchsorted(self._bounds, values, side="left")
            for place, count in enumerate(np.bincount(places).tolist()):
                counts[place] += count
            total += float(values.sum())
        self._state = counts, total

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram."""
        counts, total = self._state
        edges = [*map(str, self._bounds), "+Inf"]
        cumulated = np.cumsum(counts).tolist()
        yield HistogramMetricFamily(
            self._name,
            self._documentation,
            buckets=list(zip(edges, cumulated, strict=True)),
            sum_value=total,
        )


class Lag:
    """How far behind the end of each partition a process is; of those it has, and no others."""

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry) -> None:
        self._gauge = Gauge(name, documentation, ["partition"], registry=registry)
        self._shown: set[int] = set()

    def show(self, behind: Mapping[int, int]) -> None:
        """Show ``behind``, by partition."""
        for partition, count in behind.items():
            self._gauge.labels(partition).set(count)
        # Not cleared first: a scrape may come in between.
        for partition in self._shown - behind.keys():
            self._gauge.remove(partition)
        self._shown = set(behind)


class Deployments(Collector):
    """Answers and revision of the deployments answered last, at most ``most`` of them.

    Bounded, for a deployment ID is a label's value: of a deployment that was not answered for long
    the series end, and begin again at 0 when it is answered again, as after a restart.
    """

    def __init__(self, registry: CollectorRegistry, most: int) -> None:
        self._most = most
        # By ID: answers given, and the revision that gave the last one.
        self._known: OrderedDict[str, tuple[int, int]] = OrderedDict()
        registry.register(self)

    def answered(self, deployment_id: str, revision: int, count: int) -> None:
        """Count ``count`` answers by ``revision``; called once a batch."""
        before, _ = self._known.pop(deployment_id, (0, 0))
        self._known[deployment_id] = (before + count, revision)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def collect(self) -> Iterator[Metric]:
        """Yield both families."""
        label = ["deployment_id"]
        answers = CounterMetricFamily(
            "baton_deployment_answers",
            "Answers computed for a deployment, of those answered last.",
            labels=label,
        )
        revisions = GaugeMetricFamily(
            "baton_deployment_revision",
            "The revision that gave a deployment's last answer.",
            labels=label,
        )
        # One step: the event loop goes on adding meanwhile.
        for deployment_id, (count, revision) in self._known.copy().items():
            answers.add_metric([deployment_id], count)
            revisions.add_metric([deployment_id], revision)
        yield answers
        yield revisions
