"""All spaces; a space with its assets and deployments."""

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from console import documents
from console.forms import Sent
from console.pages import page
from console.problems import Problem
from console.services import Here
from schemas.checks import Code

router = page.router()

# How lists may be sorted, by the names of their columns.
ASSET_ORDERS = ("name", "created_at", "framework")
DEPLOYMENT_ORDERS = ("name", "status", "revision", "last_update")


@router.get("/")
async def home() -> Response:
    """Go to the spaces."""
    return RedirectResponse("/spaces", 307)


@router.get("/spaces")
async def spaces(request: Request, here: Here) -> Response:
    """Return all spaces, with how much is in each."""
    state = await here.state.current()
    found = [
        {
            **documents.space(space).model_dump(),
            "assets": len(state.assets(space.space_id)),
            "deployments": len(state.deployments(space.space_id)),
        }
        for space in state.spaces()
    ]
    told = await page.notice(request, here)
    return page.render(request, "spaces.html", {"spaces": found, "notice": told})


@router.post("/spaces")
async def create_space(request: Request, here: Here, form: Sent) -> Response:
    """Create a space."""
    space_id = page.wanted(form, "space_id")
    data = {
        "space_id": space_id,
        "name": page.text(form, "name") or space_id,
        "description": page.text(form, "description"),
    }
    return await page.send(request, here, "create-space", data, "/spaces")


@router.get("/spaces/{space_id}")
async def space(
    request: Request, space_id: str, here: Here, q: str = "", sort: str = ""
) -> Response:
    """Return a space: its deployments and assets, those that ``q`` is in, by ``sort``."""
    state = await here.state.current()
    found = state.space(space_id)
    if found is None:
        raise Problem(404, Code.SPACE_NOT_FOUND, f"there is no space {space_id}")
    held = state.deployments(space_id)
    assets = [
        documents.asset(asset, [d.name for d in state.deployments(space_id, asset.asset_id)])
        for asset in state.assets(space_id)
        if asset.manifest is not None
    ]
    matching = [a for a in assets if _has(q, a.asset_id, a.name, *a.tags)]
    deployments = [documents.deployment(d) for d in held if _has(q, d.deployment_id, d.name)]
    if sort in ASSET_ORDERS:
        matching.sort(key=lambda asset: getattr(asset, sort))
    if sort in DEPLOYMENT_ORDERS:
        deployments.sort(key=lambda deployment: getattr(deployment, sort))
    return page.render(
        request,
        "space.html",
        {
            "space": found,
            "assets": matching,
            "all_assets": assets,
            "deployments": deployments,
            "q": q,
            "sort": sort,
            "orders": sorted({*ASSET_ORDERS, *DEPLOYMENT_ORDERS}),
            "notice": await page.notice(request, here),
            "about": page.about(space_id=space_id),
        },
    )


@router.post("/spaces/{space_id}/deployments")
async def create_deployment(request: Request, space_id: str, here: Here, form: Sent) -> Response:
    """Deploy an asset of the space."""
    data = {
        "space_id": space_id,
        "asset_id": page.wanted(form, "asset_id"),
        "name": page.wanted(form, "name"),
        "description": page.text(form, "description"),
    }
    back = f"/spaces/{space_id}"
    return await page.send(request, here, "create-deployment", data, back)


def _has(q: str, *texts: str) -> bool:
    return any(q.lower() in text.lower() for text in texts)
