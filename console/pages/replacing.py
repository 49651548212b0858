"""Replace asset: the candidates of the space, checks of them, and the replace itself."""

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import FormData

from artifacts.comparison import FieldPair, MetricPair, fields, metrics, predictions_apart
from artifacts.hosts import Hosts, Limits
from client.errors import CommandRejected, UpdateFailed
from console.api.events import matching
from console.api.resources import find_deployment
from console.candidates import Candidate, Way, candidates
from console.forms import Sent
from console.pages import page
from console.preferences import trace
from console.problems import Problem
from console.services import Here, Services
from schemas.checks import Code
from schemas.commands import Reason
from schemas.manifest import Manifest
from schemas.records import DeploymentRecord

router = page.router()

# Of the newest events at hand: those that tell of dry runs.
EVENTS = 1000
# Each is a verification of the worker's.
CHECKED_AT_ONCE = 5


@router.get("/deployments/{deployment_id}/replace")
async def replacing(
    request: Request, deployment_id: str, here: Here, asset_id: str = ""
) -> Response:
    """Return the space's other assets, each with what is known of it, and one of them in detail."""
    return await _page(request, here, deployment_id, asset_id)


@router.post("/deployments/{deployment_id}/replace")
async def replace(request: Request, deployment_id: str, here: Here, form: Sent) -> Response:
    """Try a candidate (``dry_run``), or put it in place of what serves."""
    record = find_deployment(await here.state.current(), deployment_id)
    data = _command(record, form)
    if data["dry_run"]:
        back = f"/deployments/{deployment_id}/replace"
        response = await page.send(request, here, "replace-asset", data, back)
        response.headers["location"] += f"&asset_id={quote(data['asset_id'])}"
        return response
    back = f"/deployments/{deployment_id}"
    return await page.send(request, here, "replace-asset", data, back, wait_s=0)


@router.post("/deployments/{deployment_id}/replace/check")
async def check(request: Request, deployment_id: str, here: Here, form: Sent) -> Response:
    """Try the candidates whose manifests fit and that nobody has tried yet, some at a time."""
    revision = page.revision(form)
    record = find_deployment(await here.state.current(), deployment_id)
    chosen = [one for one in _candidates(here, record) if one.unchecked][:CHECKED_AT_ONCE]
    asked = [_dry_run(record, revision, one.asset.asset_id, one.way) for one in chosen if one.way]
    tries = (
        here.commands.submit("replace-asset", data, wait_s=page.QUICK_S, more=trace(request))
        for data in asked
    )
    for ended in await asyncio.gather(*tries, return_exceptions=True):
        # Its row says so.
        if isinstance(ended, BaseException) and not isinstance(
            ended, CommandRejected | UpdateFailed
        ):
            raise ended
    return RedirectResponse(f"/deployments/{deployment_id}/replace", 303)


@router.post("/deployments/{deployment_id}/replace/predictions")
async def predictions(
    request: Request, deployment_id: str, here: Here, form: Sent, asset_id: str = ""
) -> Response:
    """Return the page with what both models predict for the sample rows of the one that serves."""
    del form
    return await _page(request, here, deployment_id, asset_id, predicted=True)


@router.get("/deployments/{deployment_id}/replace/predictions")
async def predicted_before(deployment_id: str, asset_id: str = "") -> Response:
    """Lead to the page itself: what a comparison's page is renewed from."""
    back = f"/deployments/{deployment_id}/replace?asset_id={quote(asset_id)}"
    return RedirectResponse(back, 303)


async def _page(
    request: Request, here: Services, deployment_id: str, asset_id: str, *, predicted: bool = False
) -> Response:
    record = find_deployment(await here.state.current(), deployment_id)
    found = _candidates(here, record)
    chosen = next((one for one in found if one.asset.asset_id == asset_id), None)
    if asset_id and chosen is None:
        raise Problem(
            404, Code.ASSET_NOT_FOUND, f"space {record.space_id} has no other asset {asset_id}"
        )
    return page.render(
        request,
        "replace.html",
        {
            "deployment": record,
            "candidates": found,
            "at_once": min(sum(one.unchecked for one in found), CHECKED_AT_ONCE),
            "chosen": chosen,
            **(await _beside(here, record, asset_id, predicted=predicted) if chosen else {}),
            "reasons": list(Reason),
            "notice": await page.notice(request, here),
            "checking": True,
            "about": page.about(space_id=record.space_id),
        },
    )


def _candidates(here: Services, record: DeploymentRecord) -> list[Candidate]:
    serving = record.asset.asset_id if record.asset else ""
    others = [a for a in here.state.assets(record.space_id) if a.asset_id != serving and a.manifest]
    events = here.feed.newest(EVENTS, matching(deployment_id=record.deployment_id))
    return candidates(record, others, events, here.state.trials(record.deployment_id))


async def _beside(
    here: Services, record: DeploymentRecord, asset_id: str, *, predicted: bool
) -> dict[str, Any]:
    """Return what the page shows of a candidate beside what serves, if anything does."""
    asset = here.state.asset(record.space_id, asset_id)
    compared: tuple[MetricPair, ...] = ()
    differing: list[FieldPair] = []
    pairs, reason = (), None
    if asset and asset.manifest and record.asset:
        ours, theirs = record.asset.manifest, asset.manifest
        compared = metrics(ours, theirs)
        differing = [p for p in fields(ours.input_schema, theirs.input_schema) if not p.same]
        if predicted:
            # Told apart by their IDs: both may bear one name.
            pairs, reason = await _predicted(
                here,
                ours.model_copy(update={"name": record.asset.asset_id}),
                theirs.model_copy(update={"name": asset_id}),
            )
    return {"metrics": compared, "fields": differing, "predictions": pairs, "reason": reason}


async def _predicted(here: Services, ours: Manifest, theirs: Manifest) -> tuple[Any, str | None]:
    if here.comparing.locked():
        raise Problem(
            429, "comparison_running", "two models are being compared here: try again in a moment"
        )
    settings = here.settings
    limits = Limits(settings.compare_s, settings.compare_s, settings.compare_bytes)
    async with here.comparing:
        hosts = Hosts(here.store, limits, at_once=1)
        try:
            return await predictions_apart(ours, theirs, hosts)
        finally:
            await hosts.stop()


def _dry_run(record: DeploymentRecord, revision: int, asset_id: str, way: Way) -> dict[str, Any]:
    return {
        "space_id": record.space_id,
        "deployment_id": record.deployment_id,
        "asset_id": asset_id,
        "expected_revision": revision,
        "compatibility": way.compatibility.value,
        "allow_output_change": way.allow_output_change,
        "dry_run": True,
    }


def _command(record: DeploymentRecord, form: FormData) -> dict[str, Any]:
    return {
        "space_id": record.space_id,
        "deployment_id": record.deployment_id,
        "asset_id": page.wanted(form, "asset_id"),
        "expected_revision": page.revision(form),
        "reason": page.text(form, "reason"),
        "comment": page.text(form, "comment"),
        "compatibility": page.text(form, "compatibility") or "exact",
        "allow_output_change": page.text(form, "allow_output_change") == "yes",
        "dry_run": page.text(form, "dry_run") == "yes",
    }
