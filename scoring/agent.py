"""The scoring agent: a consumer group member with a pipeline for each assigned partition."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from artifacts.hosts import Hosts
from artifacts.store import Store
from scoring.cache import ModelCache
from scoring.delivery import Delivery, new_delivery
from scoring.errors import AgentError
from scoring.metrics import ScoringMetrics
from scoring.pipeline import Pipeline
from scoring.predictor import Predictor
from scoring.quarantine import Quarantine
from scoring.resolver import Resolver
from scoring.scorer import Scorer
from scoring.settings import ScoringSettings
from telemetry.tracing import Tracing
from transport.backlog import Backlog, Stand, Waiting
from transport.consumer import Consumer

log = logging.getLogger(__name__)

# A dead agent's partitions are taken over after this long.
SESSION_TIMEOUT_MS = 10_000
# A fetch is what one transaction takes: room for the largest batch of 30 numbers a request.
FETCH_BYTES = 8 * 1024**2
# A member learns by it of a rebalance: until then the partitions of one that left wait.
HEARTBEAT_MS = 500
# A batch that does not end before the group gives up on this member cannot be waited for.
REVOKE_TIMEOUT_S = 9.0
# Requests waiting and none answered for so long, beyond what a model may take: a fresh process
# would do better (seen once).
STALLED_S = 60.0
# Who is fenced by a rebalance hears of it within a session's timeout; after that, something else
# has taken its transactional id: a member that was paused while it took the partition over, say.
FENCED_S = 12.0
# Models that are loading or ending, beside those in the cache.
SPARE = 8
WATCH_S = 5.0


class Agent(ConsumerRebalanceListener):  # type: ignore[misc]
    """Answers the requests of the partitions that its group gives it.

    ``on_failure`` ends the process: its successor goes on from the committed offsets.
    """

    def __init__(
        self,
        settings: ScoringSettings,
        on_failure: Callable[[BaseException], None],
        metrics: ScoringMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        kafka = settings.kafka
        self._settings = settings
        self._on_failure = on_failure
        self._topic = kafka.topics.requests
        limits = settings.limits
        self._hosts = Hosts(Store(kafka.store), limits, at_once=settings.cache_models + SPARE)
        self._metrics = metrics or ScoringMetrics(settings.metrics_deployments)
        self._tracing = tracing or Tracing()
        quarantine = Quarantine(metrics=self._metrics)
        cache = ModelCache(
            self._hosts.load,
            quarantine,
            max_models=settings.cache_models,
            max_bytes=settings.cache_bytes,
            metrics=self._metrics,
        )
        self._resolver = Resolver(kafka.bootstrap_servers, kafka.topics.state, cache)
        self._scorer = Scorer(
            kafka.topics,
            self._resolver,
            Predictor(cache, quarantine, self._metrics),
            revision_wait_s=settings.revision_wait_s,
            metrics=self._metrics,
        )
        # A model that takes all of its time to load and then to answer is no reason to end.
        self._stalled_s = STALLED_S + limits.load_s + limits.predict_s
        self._consumer = Consumer(
            bootstrap_servers=kafka.bootstrap_servers,
            group_id=settings.group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
            retry_backoff_ms=20,
        )
        # Asks for end offsets; on the other they would wait behind its long poll.
        self._probe = Consumer(
            bootstrap_servers=kafka.bootstrap_servers,
            isolation_level="read_committed",
            enable_auto_commit=False,
        )
        self._backlog = Backlog(kafka.bootstrap_servers)
        self._pipelines: dict[TopicPartition, Pipeline] = {}
        # What they commit by: from an assignment until the last of its partitions is given back.
        self._delivery: Delivery | None = None
        self._assigned = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the state, join the group, and return once the assigned partitions are scored."""
        await asyncio.gather(self._hosts.start(), self._resolver.start(), self._probe.start())
        self._consumer.subscribe([self._topic.name], listener=self)
        await self._consumer.start()
        await self._assigned.wait()
        await asyncio.gather(*(pipe.ready.wait() for pipe in self._pipelines.values()))
        self._watch = asyncio.create_task(self._watched())

    async def stop(self) -> None:
        """Let the running batches end, leave the group."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._drop(list(self._pipelines))
        await self._consumer.stop()
        await self._probe.stop()
        await self._resolver.stop()
        await self._hosts.stop()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let the running batches of ``revoked`` end; aiokafka waits for this before it rejoins."""
        await self._drop(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin a pipeline for each partition of ``assigned``."""
        partitions = list(assigned)
        if self._delivery is None:
            self._delivery = new_delivery(self._settings, self._consumer)
        for partition in partitions:
            self._pipelines[partition] = Pipeline(
                partition,
                self._consumer,
                self._delivery,
                self._scorer,
                max_batch=self._settings.max_batch,
                on_failure=self._on_failure,
                metrics=self._metrics,
                tracing=self._tracing,
            )
        self._metrics.partitions.set(len(self._pipelines))
        numbers = sorted(tp.partition for tp in partitions)
        log.info("assigned partitions=%s", numbers, extra={"partitions": numbers})
        self._assigned.set()

    async def _drop(self, revoked: Iterable[TopicPartition]) -> None:
        dropped = [self._pipelines.pop(tp) for tp in list(revoked) if tp in self._pipelines]
        self._metrics.partitions.set(len(self._pipelines))
        try:
            async with asyncio.timeout(REVOKE_TIMEOUT_S):
                await asyncio.gather(*(pipeline.stop() for pipeline in dropped))
                if self._delivery is not None and not self._pipelines:
                    delivery, self._delivery = self._delivery, None
                    await delivery.stop()
        except TimeoutError:
            phases = {pipeline.partition.partition: pipeline.phase for pipeline in dropped}
            self._on_failure(
                AgentError(f"not stopped within {REVOKE_TIMEOUT_S:.0f} s of a rebalance: {phases}")
            )

    async def _watched(self) -> None:
        """End the process when requests wait and nothing is answered, or nothing ever would be."""
        while True:
            await asyncio.sleep(WATCH_S)
            pipelines = dict(self._pipelines)
            stands = {
                partition: Stand(pipeline.position, (pipeline, pipeline.commits))
                for partition, pipeline in pipelines.items()
            }
            try:
                waiting = await self._backlog.look(self._probe, stands)
            except (KafkaError, OSError, TimeoutError):
                continue  # the broker is away: then waiting is right
            self._show(waiting)
            for partition, pipeline in pipelines.items():
                if pipeline.fenced_at is not None:
                    if time.monotonic() - pipeline.fenced_at > FENCED_S:
                        self._on_failure(
                            AgentError(
                                f"fenced on {partition}, which the group gives to this agent: "
                                "does another process use the same BATON_APP?"
                            )
                        )
                elif waiting[partition].seconds > self._stalled_s:
                    self._on_failure(AgentError(f"{partition} stands still with requests waiting"))

    def _show(self, waiting: Mapping[TopicPartition, Waiting]) -> None:
        """Show what waits in the partitions that are still this agent's."""
        self._metrics.lag.show(
            {tp.partition: found.offsets for tp, found in waiting.items() if tp in self._pipelines}
        )
        self._metrics.late.set(sum(pipeline.late for pipeline in self._pipelines.values()))
