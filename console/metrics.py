"""What the console counts: requests by their route, never by their path."""

import time
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.security import STATIC_PATH
from telemetry.metrics import LATENCIES_S, new_registry

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What was refused before a route was looked for, or has none: a path is a client's text.
NO_ROUTE = "none"


class ConsoleMetrics:
    """The metrics of one console, in a registry of their own; docs/operations.md lists them."""

    def __init__(self) -> None:
        self.registry = new_registry()
        of = self.registry
        self._requests = Counter(
            "baton_console_requests",
            "Requests answered, by the template of their route.",
            ["route", "method", "status"],
            registry=of,
        )
        self._seconds = Histogram(
            "baton_console_request_seconds",
            "From a request to the begin of its answer.",
            ["route"],
            buckets=LATENCIES_S,
            registry=of,
        )
        self._streams = Gauge(
            "baton_console_event_streams", "Event streams that are open.", registry=of
        )
        self._waiting = Gauge(
            "baton_console_scoring_requests",
            "Requests that wait for an agent's answer.",
            registry=of,
        )
        self._age = Gauge(
            "baton_console_state_age_seconds",
            "Since the view of the state table was last seen to be current; looked at every 5 s.",
            registry=of,
        )
        self._measured = Gauge(
            "baton_console_measured_deployments",
            "Deployments whose traffic is followed, for somebody looks at it.",
            registry=of,
        )

    def answered(self, route: str, method: str, status: int, took_s: float) -> None:
        """Count a request whose answer begins."""
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route).observe(took_s)

    def watch(
        self,
        *,
        streams: Callable[[], int],
        waiting: Callable[[], int],
        age_s: Callable[[], float],
        measured: Callable[[], int],
    ) -> None:
        """Ask these, from another thread, at each scrape."""
        self._streams.set_function(streams)
        self._waiting.set_function(waiting)
        self._age.set_function(age_s)
        self._measured.set_function(measured)


class Metered:
    """ASGI middleware: counts every request, those that are refused too."""

    def __init__(self, app: ASGIApp, metrics: ConsoleMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def sending(message: Message) -> None:
            # The begin: the end of an event stream is when somebody closes a page.
            if message["type"] == "http.response.start":
                took_s = time.perf_counter() - begun
                self._metrics.answered(route(scope), method(scope), message["status"], took_s)
            await send(message)

        await self._app(scope, receive, sending)


def route(scope: Scope) -> str:
    """Return the template of the route that serves the request, NO_ROUTE where there is none."""
    if scope["path"].startswith(STATIC_PATH):
        return STATIC_PATH
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else NO_ROUTE


def method(scope: Scope) -> str:
    """Return the request's method; "other" where it is a client's invention."""
    name: str = scope["method"]
    return name if name in METHODS else "other"
