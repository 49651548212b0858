"""Commands: each is published to Kafka and answered by its place, or by what becomes of it."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from console import documents
from console.api.resources import find_deployment
from console.commands import Progress
from console.openapi import Responses, answers, problems
from console.preferences import expected_revision, remember, trace, wait_s
from console.problems import Problem
from console.services import Here, Services
from schemas.checks import Code
from schemas.commands import Compatibility, Name, Reason, Revision, Text
from schemas.ids import Id
from schemas.manifest import Manifest

router = APIRouter(prefix="/api", tags=["commands"])

_PLACE = {"Location": "Where its outcome is found."}
_SENT: Responses = (
    answers(
        202,
        "Published; what becomes of it is at Location.",
        headers=_PLACE,
        model=documents.Command,
    )
    | answers(
        200,
        "Done: the caller has preferred to wait.",
        headers={**_PLACE, "Baton-Revision": "The deployment's revision afterwards."},
        model=documents.Command,
    )
    | problems(404, 409, 413, 415, 422, 504)
)
_CONDITIONAL: Responses = _SENT | problems(418)


class _Body(BaseModel):
    # A typo must not be silently ignored, here as in a command.
    model_config = ConfigDict(extra="forbid")


class NewSpace(_Body):
    """A space to create; its name is its ID where none is given."""

    space_id: Id
    name: Name | None = None
    description: Text | None = None


class NewAsset(_Body):
    """A saved model to promote. An ID is minted where none is given."""

    asset_id: Id | None = None
    manifest: Manifest


class NewDeployment(_Body):
    """An asset to deploy."""

    asset_id: Id
    name: Name
    description: Text | None = None


class Replacement(_Body):
    """The asset that shall serve, and why. A dry run reports every check and changes nothing."""

    asset_id: Id
    reason: Reason | None = None
    comment: Text | None = None
    compatibility: Compatibility = Compatibility.EXACT
    allow_output_change: bool = False
    dry_run: bool = False


class Rollback(_Body):
    """A revision to go back to: the previous one where none is named."""

    to_revision: Revision | None = None
    reason: Reason | None = None
    comment: Text | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    """How a command is to be sent."""

    request: Request
    here: Services
    command_id: str | None
    actor: str | None
    wait_s: float | None


def sending(
    request: Request,
    here: Here,
    idempotency_key: Annotated[
        Id | None,
        Header(
            alias="Idempotency-Key",
            description="The command's id: sent twice, it is applied once.",
        ),
    ] = None,
    actor: Annotated[
        str | None,
        Header(
            alias="Baton-Actor",
            pattern=r"^[!-~]([ -~]{0,254}[!-~])?$",
            description="Who asks, for the audit log.",
        ),
    ] = None,
    prefer: Annotated[
        str | None,
        Header(description="`wait` or `wait=SECONDS`: answer with what becomes of the command."),
    ] = None,
) -> Sending:
    """Read it from the headers."""
    return Sending(request, here, idempotency_key, actor, wait_s(prefer))


Sent = Annotated[Sending, Depends(sending)]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="The deployment's ETag: only at this revision."),
]


@router.post(
    "/spaces",
    status_code=202,
    summary="Create a space",
    responses=_SENT,
)
async def create_space(body: NewSpace, sent: Sent) -> Response:
    """Publish create-space."""
    data = body.model_dump() | {"name": body.name or body.space_id}
    return await _send(sent, "create-space", data)


@router.post(
    "/spaces/{space_id}/assets",
    status_code=202,
    summary="Promote a model",
    responses=_SENT,
)
async def promote_asset(space_id: Id, body: NewAsset, sent: Sent) -> Response:
    """Publish promote-asset."""
    manifest = body.manifest.model_dump(mode="json", exclude_none=True)
    data = {"space_id": space_id, "asset_id": body.asset_id, "manifest": manifest}
    return await _send(sent, "promote-asset", data)


@router.delete(
    "/spaces/{space_id}/assets/{asset_id}",
    status_code=202,
    summary="Delete an asset that nothing uses",
    responses=_SENT,
)
async def delete_asset(space_id: Id, asset_id: Id, sent: Sent) -> Response:
    """Publish delete-asset."""
    return await _send(sent, "delete-asset", {"space_id": space_id, "asset_id": asset_id})


@router.post(
    "/spaces/{space_id}/deployments",
    status_code=202,
    summary="Deploy an asset",
    responses=_SENT,
)
async def create_deployment(space_id: Id, body: NewDeployment, sent: Sent) -> Response:
    """Publish create-deployment. The outcome has the deployment's ID."""
    return await _send(sent, "create-deployment", {"space_id": space_id, **body.model_dump()})


@router.post(
    "/deployments/{deployment_id}/replace",
    status_code=202,
    summary="Replace the asset behind a deployment",
    responses=_CONDITIONAL,
)
async def replace_asset(
    deployment_id: Id, body: Replacement, sent: Sent, if_match: IfMatch = None
) -> Response:
    """Publish replace-asset."""
    return await _send_to(sent, "replace-asset", deployment_id, body, if_match)


@router.post(
    "/deployments/{deployment_id}/rollback",
    status_code=202,
    summary="Go back to an earlier revision's asset",
    responses=_CONDITIONAL,
)
async def rollback_deployment(
    deployment_id: Id, body: Rollback, sent: Sent, if_match: IfMatch = None
) -> Response:
    """Publish rollback-deployment."""
    return await _send_to(sent, "rollback-deployment", deployment_id, body, if_match)


@router.delete(
    "/deployments/{deployment_id}",
    status_code=202,
    summary="End a deployment for good",
    responses=_CONDITIONAL,
)
async def delete_deployment(deployment_id: Id, sent: Sent, if_match: IfMatch = None) -> Response:
    """Publish delete-deployment."""
    return await _send_to(sent, "delete-deployment", deployment_id, _Body(), if_match)


@router.get(
    "/commands/{command_id}",
    summary="What became of a command",
    response_model_exclude_none=True,
    responses=problems(404, 422),
)
async def command(
    command_id: Id, request: Request, response: Response, here: Here
) -> documents.Command:
    """Return it, for seven days. A refused command is found, too: its status says so."""
    progress = await here.commands.progress(command_id)
    if progress is None:
        raise Problem(
            404,
            "command_not_found",
            f"no command {command_id} was sent by the console in the last seven days: its events, "
            "if any, are at /api/events",
        )
    found = documents.command(progress)
    remember(request, response, found.deployment_id, found.revision)
    return found


async def _send_to(
    sent: Sending, name: str, deployment_id: str, body: BaseModel, if_match: str | None
) -> Response:
    """Send a command about a deployment, whose space the state table knows."""
    record = find_deployment(await sent.here.state.current(), deployment_id)
    revision = expected_revision(if_match)
    known = sent.command_id is not None and await sent.here.commands.progress(sent.command_id)
    # Revisions only rise: one that is past never comes again. A command that was sent before, at
    # its time, is asked about.
    if revision is not None and revision != record.revision and not known:
        raise Problem(
            412,
            Code.REVISION_CONFLICT,
            f"deployment {deployment_id} is at revision {record.revision}, If-Match says "
            f"{revision}: look at it again, then decide",
            headers={"ETag": f'"{record.revision}"'},
        )
    data = {
        "space_id": record.space_id,
        "deployment_id": deployment_id,
        "expected_revision": revision,
        **body.model_dump(mode="json"),
    }
    return await _send(sent, name, data)


async def _send(sent: Sending, name: str, data: dict[str, Any]) -> Response:
    command_id, outcome = await sent.here.commands.submit(
        name,
        data,
        command_id=sent.command_id,
        actor=sent.actor,
        more=trace(sent.request),
        wait_s=sent.wait_s or 0.0,
    )
    progress = (
        Progress(command_id, "pending")
        if outcome is None
        else Progress(command_id, "ended", event=outcome.event)
    )
    found = documents.command(progress)
    response = JSONResponse(
        found.model_dump(mode="json", exclude_none=True),
        202 if outcome is None else 200,
        {"Location": found.location},
    )
    if sent.wait_s is not None:
        response.headers["Preference-Applied"] = "wait"
    remember(sent.request, response, found.deployment_id, found.revision)
    return response
