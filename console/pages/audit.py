"""The audit log: who did what and why, and which asset served when."""

from fastapi import Request, Response

from client.audit import AuditEvent
from client.history import Filter, parse_time, serving_at
from console.pages import page
from console.services import Here

router = page.router()

SHOWN = 200


@router.get("/audit")
async def audit(  # noqa: PLR0913, PLR0917 - a filter each
    request: Request,
    here: Here,
    space: str = "",
    deployment: str = "",
    actor: str = "",
    event: str = "",
    at: str = "",
) -> Response:
    """Return the newest events that match; with ``at``, what served then."""

    def matches(found: AuditEvent) -> bool:
        data = found.data
        return (
            space in {"", data.space_id or ""}
            and deployment in {"", data.deployment_id or ""}
            and (actor.lower() in (data.actor or "").lower())
            and event in {"", found.name}
        )

    served = []
    if at:
        chosen = Filter(space_id=space or None, deployment=deployment or None)
        served = await serving_at(here.settings.kafka, parse_time(at), chosen)
    return page.render(
        request,
        "audit.html",
        {
            "events": here.feed.newest(SHOWN, matches),
            "asked": {
                "space": space,
                "deployment": deployment,
                "actor": actor,
                "event": event,
                "at": at,
            },
            "served": served,
            "notice": None,
        },
    )
