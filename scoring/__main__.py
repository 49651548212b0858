"""``python -m scoring``: run one scoring agent, configured by ``BATON_*`` variables."""

import asyncio
import gc
import logging
import os
import signal
import sys

from schemas.errors import BatonError
from scoring.agent import Agent
from scoring.settings import ScoringSettings
from transport.admin import ensure_topics, wait_for_broker
from transport.logs import configure

log = logging.getLogger("scoring")

EXIT_FAILED = 70  # EX_SOFTWARE of sysexits.h
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h
BROKER_TIMEOUT_S = 60.0
# New containers between two looks for cycles: several of the largest batches.
GC_THRESHOLD = 200_000


def main() -> None:
    """Run until SIGTERM or SIGINT; exit 0 after a clean stop."""
    configure()
    try:
        asyncio.run(run(ScoringSettings.from_env(os.environ)))
    except (BatonError, TimeoutError) as error:
        sys.stderr.write(f"baton scoring: {error}\n")
        sys.exit(EXIT_CONFIG)


async def run(settings: ScoringSettings) -> None:
    """Serve until a signal comes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.ready_file is not None:
        # A predecessor's, in the same container.
        settings.ready_file.unlink(missing_ok=True)
    kafka = settings.kafka
    await wait_for_broker(kafka.bootstrap_servers, BROKER_TIMEOUT_S)
    await ensure_topics(kafka.bootstrap_servers, kafka.topics)
    agent = Agent(settings, end_process)
    await agent.start()
    _collect_seldom()
    log.info("scoring agent ready delivery=%s", settings.delivery)
    if settings.ready_file is not None:
        settings.ready_file.touch()
    await stop.wait()
    log.info("stopping")
    await agent.stop()


def _collect_seldom() -> None:
    """Let the cycle collector run seldom, and over what is new alone.

    A batch makes tens of thousands of lists and dicts and no cycles: looking for some took half of
    the agent's time (measured: bench.scoring). Models and libraries are set aside for good.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def end_process(error: BaseException) -> None:
    """Log ``error`` and end the process: its successor goes on from the committed offsets."""
    log.critical("the agent cannot go on and ends, to be restarted: %r", error, exc_info=error)
    logging.shutdown()
    os._exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
