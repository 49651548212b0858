"""Spaces, assets and deployments, as the state table has them at this moment."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from console import documents
from console.openapi import answers, problems
from console.preferences import etag, remember
from console.problems import Problem
from console.services import Here
from console.state import State
from schemas.checks import Code
from schemas.ids import Id
from schemas.records import AssetRecord, DeploymentRecord, SpaceRecord

router = APIRouter(prefix="/api", tags=["resources"])

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Offset = Annotated[int, Query(ge=0, le=10**9, description="How many to leave out.")]


@router.get("/spaces", summary="Spaces, by ID", responses=problems(418))
async def spaces(here: Here, limit: Limit = 100, offset: Offset = 0) -> documents.Spaces:
    """Return a page of them."""
    found = (await here.state.current()).spaces()
    items = [documents.space(record) for record in found[offset : offset + limit]]
    return documents.Spaces(total=len(found), items=items)


@router.get("/spaces/{space_id}", summary="A space", responses=problems(404, 422))
async def space(space_id: Id, here: Here) -> documents.Space:
    """Return it."""
    return documents.space(_space(await here.state.current(), space_id))


@router.get(
    "/spaces/{space_id}/assets",
    summary="A space's assets, newest first",
    responses=problems(404, 422),
)
async def assets(
    space_id: Id, here: Here, limit: Limit = 100, offset: Offset = 0
) -> documents.Assets:
    """Return a page of them."""
    state = await here.state.current()
    _space(state, space_id)
    found = state.assets(space_id)
    users = _users(state.deployments(space_id))
    items = [
        documents.asset(record, users[record.asset_id]) for record in found[offset : offset + limit]
    ]
    return documents.Assets(total=len(found), items=items)


@router.get(
    "/spaces/{space_id}/assets/{asset_id}",
    summary="An asset with its whole manifest",
    responses=problems(404, 422),
)
async def asset(space_id: Id, asset_id: Id, here: Here) -> AssetRecord:
    """Return it."""
    found = (await here.state.current()).asset(space_id, asset_id)
    if found is None:
        raise Problem(
            404,
            Code.ASSET_NOT_FOUND,
            f"there is no asset {asset_id} in space {space_id}: GET /api/spaces/{space_id}/assets "
            "lists them",
        )
    return found


@router.get("/deployments", summary="Deployments, newest first", responses=problems(422))
async def deployments(
    here: Here,
    space_id: Annotated[Id | None, Query(description="Of this space alone.")] = None,
    asset_id: Annotated[Id | None, Query(description="That serve or await this asset.")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> documents.Deployments:
    """Return a page of them."""
    found = (await here.state.current()).deployments(space_id, asset_id)
    items = [documents.deployment(record) for record in found[offset : offset + limit]]
    return documents.Deployments(total=len(found), items=items)


@router.get(
    "/deployments/{deployment_id}",
    summary="A deployment with the manifest of what it serves",
    responses=problems(404, 422)
    | answers(200, "The deployment.", headers={"ETag": "The revision: send it in If-Match."}),
)
async def deployment(
    deployment_id: Id, request: Request, response: Response, here: Here
) -> DeploymentRecord:
    """Return it; a deleted one, too: its status says so."""
    found = find_deployment(await here.state.current(), deployment_id)
    response.headers["ETag"] = etag(found.revision)
    remember(request, response, deployment_id, found.revision)
    return found


def find_deployment(state: State, deployment_id: str) -> DeploymentRecord:
    """Return the deployment. Raises Problem (404) where there never was one."""
    found = state.deployment(deployment_id)
    if found is None:
        raise Problem(
            404,
            Code.DEPLOYMENT_NOT_FOUND,
            f"there is no deployment {deployment_id}: GET /api/deployments lists them",
        )
    return found


def _space(state: State, space_id: str) -> SpaceRecord:
    found = state.space(space_id)
    if found is None:
        raise Problem(
            404, Code.SPACE_NOT_FOUND, f"there is no space {space_id}: GET /api/spaces lists them"
        )
    return found


def _users(records: Iterable[DeploymentRecord]) -> dict[str, list[str]]:
    users: dict[str, list[str]] = defaultdict(list)
    for record in records:
        for used in (record.asset, record.pending.asset if record.pending else None):
            if used is not None and record.deployment_id not in users[used.asset_id]:
                users[used.asset_id].append(record.deployment_id)
    return users
