"""GET /metrics, /health/live and /health/ready, from a thread of their own.

A thread, not the service's event loop: it answers while the service starts and while it stops, it
can tell whether that loop still turns, and whoever reads slowly holds up nobody else.
"""

import json
import logging
import threading
from http import HTTPStatus
from http.server import ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from schemas.errors import SettingsError
from telemetry.health import Health, Stage
from telemetry.settings import TelemetrySettings

log = logging.getLogger(__name__)

# Who sends or reads nothing for so long is let go.
CLIENT_TIMEOUT_S = 5.0


class _Handler(MetricsHandler):
    timeout = CLIENT_TIMEOUT_S
    health: Health

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        path = self.path.partition("?")[0]
        if path == "/metrics":
            super().do_GET()
        elif path == "/health/live":
            alive = self.health.alive()
            self._tell(HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE, alive=alive)
        elif path == "/health/ready":
            stage = self.health.stage
            ready = stage is Stage.READY
            self._tell(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, stage=stage)
        else:
            self._tell(HTTPStatus.NOT_FOUND, expected="/metrics, /health/live or /health/ready")

    def _tell(self, status: HTTPStatus, **what: object) -> None:
        body = json.dumps(what).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: somebody hung up."""


def serve(
    settings: TelemetrySettings, health: Health, registry: CollectorRegistry
) -> ThreadingHTTPServer | None:
    """Serve until the process ends, or until ``shutdown`` of what is returned; None: switched off.

    Raises SettingsError where the port cannot be had.
    """
    if settings.port is None:
        return None
    handler = type("Handler", (_Handler,), {"registry": registry, "health": health})
    try:
        server = _Server((settings.host, settings.port), handler)
    except OSError as error:
        raise SettingsError(
            f"BATON_METRICS_HOST, BATON_METRICS_PORT: cannot listen on {settings.host}:"
            f"{settings.port} ({error.strerror or error}); each process of a machine needs a port "
            "of its own, and 0 picks one"
        ) from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    log.info("metrics on http://%s:%d/metrics", settings.host, server.server_port)
    return server
