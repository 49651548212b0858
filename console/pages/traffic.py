"""What a deployment's traffic looks like: charts with a mark where its asset was replaced."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from fastapi import Request, Response

from client.audit import AuditEvent
from console import documents
from console.api.resources import find_deployment
from console.charts import Moment, chart
from console.pages import page
from console.series import BIN_S, WINDOW_S, Series, end
from console.services import Here, Services
from schemas.events import SWITCHED

router = page.router()

# Spans of the table, in seconds.
SPANS = {"10 s": 10, "minute": 60, "15 minutes": WINDOW_S}
# Events of a deployment that are looked at for marks.
EVENTS = 50


@router.get("/deployments/{deployment_id}/traffic")
async def traffic(request: Request, deployment_id: str, here: Here) -> Response:
    """Return this part of the deployment's page alone: it renews itself every few seconds."""
    record = find_deployment(here.state, deployment_id)
    told = {"deployment": documents.deployment(record), "traffic": measured(here, deployment_id)}
    return page.render(request, "traffic.html", told)


def measured(here: Services, deployment_id: str) -> dict[str, Any]:
    """Return what ``traffic.html`` shows, and have the deployment followed for a while."""

    def switches(event: AuditEvent) -> bool:
        # Asked of every event at hand: the cheaper first.
        return event.data.deployment_id == deployment_id and event.name in SWITCHED

    found = moments(here.feed.newest(EVENTS, switches))
    return shown(here.meter.series(deployment_id), found, time.time())


def shown(series: Series, switches: list[Moment], now_s: float) -> dict[str, Any]:
    """Return charts, their times in words, and the newest rates."""
    until = end(now_s)
    begin = until - WINDOW_S
    # A value stands for its bin: it is drawn at the bin's end.
    span = (begin + BIN_S, until)
    rates = series.rates(now_s)
    within = [each for each in switches if each.at_s >= span[0]]
    charts = [
        chart(
            "Requests a second", "/s", {"requests": [r.requests_s for r in rates]}, switches, span
        ),
        chart("Errors a second", "/s", {"errors": [r.errors_s for r in rates]}, switches, span),
        chart(
            "Latency",
            "ms",
            {"p50": [r.p50_ms for r in rates], "p99": [r.p99_ms for r in rates]},
            switches,
            span,
        ),
    ]
    return {
        "charts": charts,
        "since": None if series.since_s is None else clock(max(series.since_s, begin)),
        "sampled": series.sampled(now_s),
        "begin": clock(begin),
        "end": clock(until),
        "told": "; ".join(f"{each.label} since {clock(each.at_s)}" for each in within),
        "rates": [(name, series.rate(now_s, seconds)) for name, seconds in SPANS.items()],
    }


def moments(events: Iterable[AuditEvent]) -> list[Moment]:
    """Return when the deployment's events made another asset serve, with the revision."""
    return [
        Moment(datetime.fromisoformat(event.time).timestamp(), f"rev {event.data.revision}")
        for event in events
    ]


def clock(at_s: float) -> str:
    """Return the time of the day, UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")
