"""Scoring as Watson Machine Learning v4 has it, at an address that never changes."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from console.api.asking import RESPONSES, Terms, answered, ask, terms
from console.services import Here
from schemas.ids import Id

router = APIRouter(tags=["scoring"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["input_data"],
                    "properties": {
                        "input_data": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["values"],
                                "properties": {
                                    "fields": {"type": "array", "items": {"type": "string"}},
                                    "values": {
                                        "type": "array",
                                        "minItems": 1,
                                        "items": {"type": "array", "items": {}},
                                    },
                                },
                            },
                        }
                    },
                },
                "example": {"input_data": [{"fields": ["amount", "age"], "values": [[1.2, 0.3]]}]},
            }
        },
    }
}


@router.post(
    "/ml/v4/deployments/{deployment_id}/predictions",
    summary="Score rows (Watson Machine Learning v4)",
    responses=RESPONSES,
    openapi_extra=_BODY,
)
async def predict(
    request: Request,
    deployment_id: Id,
    here: Here,
    given: Annotated[Terms, Depends(terms)],
    version: Annotated[
        str | None, Query(description="A date, as clients of WML send it: not looked at.")
    ] = None,
) -> Response:
    """Send the body to the deployment's agents, untouched, and return their answer."""
    del version
    return answered(await ask(here, request, deployment_id, await request.body(), given))
