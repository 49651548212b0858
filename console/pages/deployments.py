"""A deployment: what serves, how it is called, how it got there, and the way back."""

from typing import Any

from fastapi import Request, Response

from client.audit import AuditEvent
from console import documents
from console.api.events import matching
from console.api.resources import find_deployment
from console.forms import Sent
from console.pages import page
from console.pages.traffic import measured
from console.services import Here
from schemas.manifest import Manifest

router = page.router()

# Of the newest events at hand.
EVENTS = 50
SAMPLE_ROWS = 3


@router.get("/deployments/{deployment_id}")
async def deployment(request: Request, deployment_id: str, here: Here) -> Response:
    """Return a deployment's page."""
    record = find_deployment(await here.state.current(), deployment_id)
    manifest = record.asset.manifest if record.asset else None
    notice = await page.notice(request, here)
    return page.render(
        request,
        "deployment.html",
        {
            "deployment": documents.deployment(record),
            "pending": record.pending,
            "manifest": manifest,
            "rows": _rows(manifest),
            "timeline": _timeline(here.feed.newest(EVENTS, matching(deployment_id=deployment_id))),
            "servers": here.settings.kafka.bootstrap_servers,
            "traffic": measured(here, deployment_id),
            "notice": notice,
            "about": page.about_deployment(record, notice),
        },
    )


@router.post("/deployments/{deployment_id}/rollback")
async def rollback(request: Request, deployment_id: str, here: Here, form: Sent) -> Response:
    """Go back to the asset of an earlier revision."""
    record = find_deployment(await here.state.current(), deployment_id)
    goal = page.text(form, "to_revision")
    data = {
        "space_id": record.space_id,
        "deployment_id": deployment_id,
        "to_revision": page.whole("to_revision", goal) if goal else None,
        "expected_revision": page.revision(form),
        "reason": page.text(form, "reason"),
        "comment": page.text(form, "comment"),
    }
    back = f"/deployments/{deployment_id}"
    return await page.send(request, here, "rollback-deployment", data, back, wait_s=0)


def _timeline(events: list[AuditEvent]) -> list[dict[str, Any]]:
    return [
        {
            "time": event.time,
            "name": event.name,
            "data": event.data,
            "failed": [check for check in event.data.checks or () if not check.passed],
            "passed": sum(check.passed for check in event.data.checks or ()),
        }
        for event in events
    ]


def _rows(manifest: Manifest | None) -> list[dict[str, Any]]:
    """Return sample rows as the test panel's form takes them: by field."""
    sample = manifest.sample if manifest else None
    if sample is None:
        return []
    return [dict(zip(sample.fields, row, strict=True)) for row in sample.values[:SAMPLE_ROWS]]
