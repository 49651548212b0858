"""``python -m worker``: run one control-plane worker, configured by ``BATON_*`` variables."""

import asyncio
import gc
import os

from aiokafka.errors import KafkaError

from schemas.errors import BatonError
from telemetry.health import Health
from telemetry.logs import configure
from telemetry.metrics import show_health
from telemetry.server import serve
from telemetry.tracing import start_tracing
from transport.admin import wait_for_broker
from transport.ending import end_at_start, end_on_signal
from transport.header_names import read_any_header_name
from worker.app import build_app, prepare
from worker.faust_driver import Worker
from worker.metrics import WorkerMetrics
from worker.settings import WorkerSettings

BROKER_TIMEOUT_S = 60.0
# Reading the state makes objects by the million and no cycles: looking for some at each step of the
# way is time lost.
GC_THRESHOLD = 100_000


def main() -> None:
    """Run until SIGTERM or SIGINT; exit 0 after a clean stop."""
    try:
        # Faust reports each rebalance step: its warnings are what an operator needs.
        configure("faust", "mode", "worker.faust_driver")
        settings = WorkerSettings.from_env(os.environ)
        health = Health(settings.ready_file)
        metrics = WorkerMetrics()
        show_health(metrics.registry, health)
        serve(settings.telemetry, health, metrics.registry)
        end_on_signal()
        read_any_header_name()
        topic_ids = asyncio.run(_prepared(settings))
    except (BatonError, KafkaError, OSError) as error:
        end_at_start("worker", error)
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    health.watch(loop)
    tracing = start_tracing("worker", os.environ)
    app = build_app(settings, topic_ids, health, metrics, tracing)
    worker = Worker(
        app, loop=loop, quiet=True, redirect_stdouts=False, override_logging=False, loglevel="WARN"
    )
    # It draws on the terminal even when told to be quiet.
    worker.spinner = None
    worker.health = health
    worker.execute_from_commandline()


async def _prepared(settings: WorkerSettings) -> dict[str, bytes]:
    await wait_for_broker(settings.kafka.bootstrap_servers, BROKER_TIMEOUT_S)
    return await prepare(settings)


if __name__ == "__main__":
    main()
