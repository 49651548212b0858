"""What metrics and traces are told of a partition's requests, once their answers are in the log."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from scoring.metrics import ScoringMetrics
from scoring.scorer import Owed
from telemetry.tracing import MAX_LINKS, Attributes, Tracing, contexts
from transport.transactions import Write

if TYPE_CHECKING:
    from schemas.traces import TraceContext


class Observation:
    """Follows the requests of one partition from their fetch to the commit of their answers."""

    def __init__(
        self, partition: TopicPartition, metrics: ScoringMetrics, tracing: Tracing
    ) -> None:
        self._partition = partition
        self._metrics = metrics
        self._tracing = tracing
        # When they were appended (ms): the requests whose answers the next commit holds, and by
        # offset those that are late.
        self._arrived: list[int] = []
        self._late: dict[int, int] = {}
        # The traces of what was fetched since the last commit, and when it began (ns).
        self._traces: list[TraceContext] = []
        self._began_ns = 0

    def fetched(self, records: Sequence[Any]) -> None:
        """Take note of a batch before it is scored."""
        self._metrics.batch.observe(len(records))
        if self._tracing.enabled:
            if not self._traces:
                self._began_ns = time.time_ns()
            self._traces = [*self._traces, *contexts(records)][:MAX_LINKS]

    def scored(self, records: Sequence[Any], late: Iterable[Owed]) -> None:
        """Take note of what of it has answers, and what is ``late``."""
        behind = frozenset[int]().union(*[owed.offsets for owed in late])
        if behind:
            self._late |= {r.offset: r.timestamp for r in records if r.offset in behind}
            records = [record for record in records if record.offset not in behind]
        self._arrived += [record.timestamp for record in records]

    def caught_up(self, owed: Owed) -> None:
        """Take note of answers that come late."""
        self._arrived += [self._late.pop(offset) for offset in owed.offsets]

    def committed(self, writes: Sequence[Write], took_s: float) -> None:
        """Tell of the answers that are in the log now, after a commit of ``took_s``."""
        arrived, self._arrived = self._arrived, []
        self._metrics.committed(writes, arrived, took_s)
        if self._traces:
            traces, self._traces = self._traces, []
            attributes: Attributes = {
                "messaging.system": "kafka",
                "messaging.destination.name": self._partition.topic,
                "messaging.destination.partition.id": str(self._partition.partition),
                "messaging.batch.message_count": len(arrived),
            }
            self._tracing.batch("score", traces, self._began_ns, attributes)
