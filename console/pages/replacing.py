"""Replace asset: the candidates of the space, a dry run of one, and the replace itself."""

from typing import Any

from fastapi import Request, Response
from starlette.datastructures import FormData

from artifacts.comparison import FieldPair, MetricPair, fields, metrics
from console import documents
from console.api.resources import find_deployment
from console.forms import Sent
from console.pages import page
from console.problems import Problem
from console.services import Here
from schemas.checks import Code
from schemas.commands import Reason
from schemas.records import DeploymentRecord

router = page.router()

# A dry run verifies the file as a replace would: it may take a while to load.
DRY_RUN_S = 60.0


@router.get("/deployments/{deployment_id}/replace")
async def candidates(
    request: Request, deployment_id: str, here: Here, asset_id: str = ""
) -> Response:
    """Return the space's other assets, and one of them beside what serves."""
    state = await here.state.current()
    record = find_deployment(state, deployment_id)
    serving = record.asset.asset_id if record.asset else ""
    others = [a for a in state.assets(record.space_id) if a.asset_id != serving and a.manifest]
    chosen = next((asset for asset in others if asset.asset_id == asset_id), None)
    if asset_id and chosen is None:
        raise Problem(
            404, Code.ASSET_NOT_FOUND, f"space {record.space_id} has no other asset {asset_id}"
        )
    compared: list[MetricPair] = []
    differing: list[FieldPair] = []
    if chosen and chosen.manifest and record.asset:
        compared = list(metrics(record.asset.manifest, chosen.manifest))
        pairs = fields(record.asset.manifest.input_schema, chosen.manifest.input_schema)
        differing = [pair for pair in pairs if not pair.same]
    return page.render(
        request,
        "replace.html",
        {
            "deployment": documents.deployment(record),
            "candidates": [documents.asset(asset, []) for asset in others],
            "chosen": None if chosen is None else documents.asset(chosen, []),
            "metrics": compared,
            "fields": differing,
            "reasons": list(Reason),
            "notice": await page.notice(request, here),
            "about": page.about(space_id=record.space_id),
        },
    )


@router.post("/deployments/{deployment_id}/replace")
async def replace(request: Request, deployment_id: str, here: Here, form: Sent) -> Response:
    """Try a candidate (``dry_run``), or put it in place of what serves."""
    record = find_deployment(await here.state.current(), deployment_id)
    data = _command(record, form)
    if data["dry_run"]:
        back = f"/deployments/{deployment_id}/replace"
        response = await page.send(request, here, "replace-asset", data, back, wait_s=DRY_RUN_S)
        response.headers["location"] += f"&asset_id={data['asset_id']}"
        return response
    back = f"/deployments/{deployment_id}"
    return await page.send(request, here, "replace-asset", data, back, wait_s=0)


def _command(record: DeploymentRecord, form: FormData) -> dict[str, Any]:
    return {
        "space_id": record.space_id,
        "deployment_id": record.deployment_id,
        "asset_id": page.wanted(form, "asset_id"),
        "expected_revision": page.revision(form),
        "reason": page.text(form, "reason"),
        "comment": page.text(form, "comment"),
        "compatibility": page.text(form, "compatibility") or "exact",
        "dry_run": page.text(form, "dry_run") == "yes",
    }
