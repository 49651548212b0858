"""``python -m console``: run the console, configured by ``BATON_*`` variables."""

import asyncio
import logging
import os
import socket
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn
from aiokafka.errors import KafkaError

from console.app import create_app
from console.metrics import ConsoleMetrics
from console.settings import ConsoleSettings
from schemas.errors import BatonError, SettingsError
from telemetry.health import Health
from telemetry.logs import configure
from telemetry.metrics import show_health
from telemetry.server import serve
from transport import ending
from transport.admin import ensure_topics, wait_for_broker
from transport.ending import end_at_start, end_on_signal, stop_in_time
from transport.header_names import read_any_header_name
from transport.watch import watch_topics

log = logging.getLogger("console")

BROKER_TIMEOUT_S = 60.0
# For requests that wait for their answers when it is told to stop.
DRAIN_S = 3


def main() -> None:
    """Run until SIGTERM or SIGINT; exit 0 after a clean stop."""
    end_on_signal()
    read_any_header_name()
    try:
        configure("uvicorn", "uvicorn.access")
        asyncio.run(run(ConsoleSettings.from_env(os.environ)))
    except (BatonError, KafkaError, OSError) as error:
        end_at_start("console", error)


async def run(settings: ConsoleSettings) -> None:
    """Serve until a signal comes."""
    if settings.ready_file is not None:
        # A predecessor's, in the same container.
        settings.ready_file.unlink(missing_ok=True)
    # Its ready file has the address in it: it is written here.
    health = Health()
    health.watch(asyncio.get_running_loop())
    metrics = ConsoleMetrics()
    show_health(metrics.registry, health)
    serve(settings.telemetry, health, metrics.registry)
    listening = _listen(settings)
    settings = replace(settings, port=listening.getsockname()[1])
    kafka = settings.kafka
    await wait_for_broker(kafka.bootstrap_servers, BROKER_TIMEOUT_S)
    topic_ids = await ensure_topics(kafka.bootstrap_servers, kafka.topics)
    watch = asyncio.create_task(
        watch_topics(kafka.bootstrap_servers, kafka.topics, topic_ids, end_process)
    )
    app = create_app(settings, end_process, metrics)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        lifespan="on",
    )
    await Server(config, settings, app, health).serve(sockets=[listening])
    watch.cancel()


class Server(uvicorn.Server):
    """Uvicorn, which says when it serves and ends with status 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        settings: ConsoleSettings,
        app: Any,  # noqa: ANN401 - FastAPI's state has any attributes
        health: Health,
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._app = app
        self._health = health

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell whoever waits where."""
        await super().startup(sockets)
        self._health.ready()
        log.info("console ready at %s", self._settings.url)
        if self._settings.token_made_up:
            # Nobody else could know it; as long as nobody sets one, it is another at each start.
            log.warning("BATON_CONSOLE_TOKEN is not set; today it is %s", self._settings.token)
        if self._settings.ready_file is not None:
            # Renamed into place: whoever sees the file reads the address whole.
            scratch = self._settings.ready_file.with_suffix(f".{os.getpid()}")
            scratch.write_text(self._settings.url)
            scratch.rename(self._settings.ready_file)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after the running requests. Uvicorn would have the signal end the process."""
        del sig, frame
        if not self.should_exit:
            # First of all: nobody is to count on it any more.
            self._health.stopping()
            self.should_exit = True
            # Event streams would never end by themselves.
            if (services := getattr(self._app.state, "services", None)) is not None:
                services.feed.close()
            stop_in_time("console")


def _listen(settings: ConsoleSettings) -> socket.socket:
    """Take the address before anything else is begun. Raises SettingsError where it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {settings.host}:{settings.port}: {error.strerror or error}; set "
            "BATON_CONSOLE_HOST and BATON_CONSOLE_PORT to an address that is free here"
        ) from None


def end_process(error: BaseException) -> None:
    """Log ``error`` and end the process: its successor reads the views anew."""
    ending.end_process("console", error)


if __name__ == "__main__":
    main()
