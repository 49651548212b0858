"""The control plane, wired: a Faust app whose one agent hands commands to partition owners."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import faust

from artifacts.runtime import runtime_frameworks
from artifacts.verify import Verifier
from telemetry.health import Health
from telemetry.tracing import Tracing
from transport import ending
from transport.admin import ensure_topics
from transport.watch import watch_topics
from worker.control_plane import ControlPlane
from worker.faust_driver import broker_urls, read_committed
from worker.inbox import CommandMessage
from worker.lifecycle.rules import Rules
from worker.metrics import WorkerMetrics
from worker.owner import Duties
from worker.progress import watch_progress
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

# A dead worker's partitions are taken over after this long (measured with these values: 10 s).
SESSION_TIMEOUT_S = 10.0
HEARTBEAT_S = 2.0
# One transaction takes up to this many commands, waiting at most so long for more of them.
BATCH = 500
GATHER_S = 0.01


def end_process(error: BaseException) -> None:
    """Log ``error`` and end the process: an exception must not acknowledge a command."""
    ending.end_process("worker", error)


def build_app(
    settings: WorkerSettings,
    topic_ids: Mapping[str, bytes],
    health: Health,
    metrics: WorkerMetrics,
    tracing: Tracing,
) -> faust.App:
    """Return the Faust app of the control plane; ``topic_ids`` are those of ``prepare``."""
    kafka = settings.kafka
    commands = kafka.topics.commands
    verifier = Verifier(
        kafka.store,
        time_limit_s=settings.verify_time_limit_s,
        memory_limit_bytes=settings.verify_memory_limit_bytes,
    )
    rules = Rules(
        frameworks=runtime_frameworks(),
        allowed_versions=frozenset(settings.allowed_versions),
        roots=kafka.store,
        update_deadline_ms=settings.update_deadline_ms,
    )
    plane = ControlPlane(Duties(kafka, rules, verifier, end_process, metrics, tracing))
    urls = broker_urls(kafka.bootstrap_servers)
    app = faust.App(
        f"{kafka.app}-worker",
        broker=urls,
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        topic_disable_leader=True,
        datadir=Path(tempfile.gettempdir()) / f"{kafka.app}-faust",
        stream_wait_empty=False,
    )
    read_committed(app, urls)
    topic = app.topic(
        commands.name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        internal=False,
    )

    @app.agent(topic, concurrency=1, name="commands")
    async def apply_commands(stream: Any) -> AsyncIterator[None]:  # noqa: ANN401 - Faust's stream
        async for events in stream.take_events(BATCH, within=GATHER_S):
            # Shielded: a rebalance may cancel the agent, never a running transaction.
            await asyncio.shield(_apply_or_end(plane, [_message(e.message) for e in events]))
            yield

    async def watch() -> None:
        await watch_topics(kafka.bootstrap_servers, kafka.topics, topic_ids, end_process)

    async def watch_stalls() -> None:
        await watch_progress(kafka, plane.owners, end_process, metrics)

    app.task(watch)
    app.task(watch_stalls)

    # Faust's annotation of a signal's handler fits no function: hence the ignores.
    @app.on_partitions_revoked.connect  # type: ignore[arg-type]
    async def _revoked(_: Any, *args: Any, **__: Any) -> None:  # noqa: ANN401 - Faust's signal
        (revoked,) = args
        await plane.revoke([tp.partition for tp in revoked if tp.topic == commands.name])
        metrics.partitions.set(len(plane.owners()))

    @app.on_partitions_assigned.connect  # type: ignore[arg-type]
    async def _assigned(_: Any, *args: Any, **__: Any) -> None:  # noqa: ANN401 - Faust's signal
        (assigned,) = args
        plane.assign([tp.partition for tp in assigned if tp.topic == commands.name])
        metrics.partitions.set(len(plane.owners()))
        asyncio.create_task(_announce(plane, verifier, health))  # noqa: RUF006 - it ends by itself

    @app.on_before_shutdown.connect  # type: ignore[arg-type]
    async def _closing(_: Any, *__: Any, **___: Any) -> None:  # noqa: ANN401 - Faust's signal
        await plane.close()
        await verifier.stop()
        await asyncio.to_thread(tracing.flush)

    return app


async def _apply_or_end(plane: ControlPlane, batch: list[CommandMessage]) -> None:
    try:
        await plane.apply(batch)
    except Exception as error:  # noqa: BLE001 - one that left the agent would lose the batch
        end_process(error)


async def prepare(settings: WorkerSettings) -> dict[str, bytes]:
    """Create or check the topics before the app starts; return their ids."""
    return await ensure_topics(settings.kafka.bootstrap_servers, settings.kafka.topics)


def _message(message: Any) -> CommandMessage:  # noqa: ANN401 - Faust's message
    return CommandMessage(
        message.partition,
        message.offset,
        round(message.timestamp * 1000),
        message.key,
        message.value,
        tuple(message.headers or ()),
    )


async def _announce(plane: ControlPlane, verifier: Verifier, health: Health) -> None:
    # It imports scikit-learn: not while the first deployment waits for it.
    await verifier.start()
    await plane.ready()
    log.info("worker ready")
    health.ready()
