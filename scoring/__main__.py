"""``python -m scoring``: run one scoring agent, configured by ``BATON_*`` variables."""

import asyncio
import gc
import logging
import os
import signal

from aiokafka.errors import KafkaError

from schemas.errors import BatonError
from scoring.agent import Agent
from scoring.metrics import ScoringMetrics
from scoring.settings import ScoringSettings
from telemetry.health import Health
from telemetry.logs import configure
from telemetry.metrics import show_health
from telemetry.server import serve
from telemetry.tracing import start_tracing
from transport import ending
from transport.admin import ensure_topics, wait_for_broker
from transport.ending import end_at_start, end_on_signal, stop_in_time
from transport.header_names import read_any_header_name
from transport.watch import check_committed, watch_topics

log = logging.getLogger("scoring")

BROKER_TIMEOUT_S = 60.0
# New containers between two looks for cycles: several of the largest batches.
GC_THRESHOLD = 200_000


def main() -> None:
    """Run until SIGTERM or SIGINT; exit 0 after a clean stop."""
    try:
        configure()
        end_on_signal()
        read_any_header_name()
        asyncio.run(run(ScoringSettings.from_env(os.environ)))
    except (BatonError, KafkaError, OSError) as error:
        end_at_start("scoring", error)


async def run(settings: ScoringSettings) -> None:
    """Serve until a signal comes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    health = Health(settings.ready_file)
    health.watch(loop)
    metrics = ScoringMetrics(settings.metrics_deployments)
    show_health(metrics.registry, health)
    serve(settings.telemetry, health, metrics.registry)
    kafka = settings.kafka
    await wait_for_broker(kafka.bootstrap_servers, BROKER_TIMEOUT_S)
    topic_ids = await ensure_topics(kafka.bootstrap_servers, kafka.topics)
    watch = asyncio.create_task(
        watch_topics(kafka.bootstrap_servers, kafka.topics, topic_ids, end_process)
    )
    await check_committed(kafka.bootstrap_servers, kafka.topics.requests, settings.group)

    def stopping() -> None:
        # First of all: nobody is to count on it any more.
        health.stopping()
        stop.set()
        stop_in_time("scoring")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping)

    tracing = start_tracing("scoring", os.environ)
    agent = Agent(settings, end_process, metrics, tracing)
    await agent.start()
    _collect_seldom()
    log.info("scoring agent ready delivery=%s", settings.delivery)
    health.ready()
    await stop.wait()
    log.info("stopping")
    watch.cancel()
    try:
        await agent.stop()
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - aiokafka, brokerless
        end_process(error)
    await asyncio.to_thread(tracing.flush)


def _collect_seldom() -> None:
    """Let the cycle collector run seldom, and over what is new alone.

    A batch makes tens of thousands of lists and dicts and no cycles: looking for some took half of
    the agent's time when it was measured. Models and libraries are set aside for good.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def end_process(error: BaseException) -> None:
    """Log ``error`` and end the process: its successor goes on from the committed offsets."""
    ending.end_process("scoring", error)


if __name__ == "__main__":
    main()
