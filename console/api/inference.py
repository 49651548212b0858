"""Open Inference Protocol V2. A model is a deployment; its version is the deployment's revision.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel

from console import tensors
from console.api.asking import RESPONSES, Terms, answered, ask, terms
from console.openapi import problems
from console.problems import Problem
from console.services import Here
from schemas.ids import Id
from schemas.manifest import FieldType, Manifest
from schemas.records import DeploymentRecord, Status
from schemas.scoring import ScoringCode

router = APIRouter(prefix="/v2", tags=["scoring (Open Inference Protocol V2)"])

_DATATYPES = {
    FieldType.BOOLEAN: "BOOL",
    FieldType.INTEGER: "INT32",
    FieldType.LONG: "INT64",
    FieldType.FLOAT: "FP32",
    FieldType.DOUBLE: "FP64",
    FieldType.STRING: "BYTES",
    FieldType.TIMESTAMP: "BYTES",
}
_LABELS = {bool: "BOOL", int: "INT64", float: "FP64"}

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object"},
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["name", "shape", "datatype", "data"],
                                "properties": {
                                    "name": {"type": "string", "minLength": 1},
                                    "shape": {"type": "array", "items": {"type": "integer"}},
                                    "datatype": {"type": "string"},
                                    "data": {"type": "array", "items": {}},
                                },
                            },
                        },
                    },
                },
                "example": {
                    "inputs": [
                        {"name": "amount", "shape": [1], "datatype": "FP64", "data": [1.2]},
                        {"name": "age", "shape": [1], "datatype": "FP64", "data": [0.3]},
                    ]
                },
            }
        },
    }
}


class Live(BaseModel):
    """The server runs."""

    live: bool = True


class Ready(BaseModel):
    """The server, or a deployment, serves."""

    name: str | None = None
    ready: bool = True


class ServerMetadata(BaseModel):
    """What serves, and which extensions it knows."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor: -1 in its shape is any number."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A deployment as it serves now."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


@router.get("/health/live", summary="Is the console alive?")
async def live() -> Live:
    """Answer."""
    return Live()


@router.get("/health/ready", summary="Does Kafka answer?", response_model_exclude_none=True)
async def ready(here: Here) -> Ready:
    """Answer once the view of the state table is current; 503 where it does not become so."""
    await here.state.current()
    return Ready()


@router.get("", summary="What serves")
async def server(request: Request) -> ServerMetadata:
    """Return name, version and extensions."""
    return ServerMetadata(
        name="baton", version=request.app.version, extensions=["binary_tensor_data"]
    )


@router.get(
    "/models/{deployment_id}", summary="A deployment's tensors", responses=problems(404, 422)
)
async def model(deployment_id: Id, here: Here) -> ModelMetadata:
    """Return what the deployment reads and answers at its present revision."""
    record = await _serving(here, deployment_id)
    manifest = record.asset.manifest if record.asset else None
    return ModelMetadata(
        name=deployment_id,
        versions=[str(record.revision)],
        platform="" if manifest is None else f"{manifest.framework.name}_{manifest.format}",
        inputs=_inputs(manifest),
        outputs=_outputs(manifest),
    )


@router.get(
    "/models/{deployment_id}/ready",
    summary="Does a deployment serve?",
    responses=problems(404, 422),
)
async def model_ready(deployment_id: Id, here: Here) -> Ready:
    """Answer; 503 where the deployment has never served."""
    await _serving(here, deployment_id)
    return Ready(name=deployment_id)


@router.post(
    "/models/{deployment_id}/infer",
    summary="Score tensors",
    responses=RESPONSES,
    openapi_extra=_BODY,
)
async def infer(
    request: Request,
    deployment_id: Id,
    here: Here,
    given: Annotated[Terms, Depends(terms)],
    json_length: Annotated[
        str | None,
        Header(
            alias="Inference-Header-Content-Length",
            description="The length of the JSON where binary tensors follow it.",
        ),
    ] = None,
) -> Response:
    """Send the tensors to the deployment's agents and return their answer.

    The answer bears the request's own `id`, which may repeat; what makes a request one and the
    same is its Idempotency-Key.
    """
    body = await request.body()
    if json_length is not None:
        body = tensors.as_json(body, json_length)
    answer = await ask(here, request, deployment_id, body, given)
    name = _id_of(body)
    if name is None:
        return answered(answer)
    ours = b'"id":' + orjson.dumps(answer.request_id)
    return answered(answer, answer.value.replace(ours, b'"id":' + orjson.dumps(name), 1))


def _id_of(body: bytes) -> str | None:
    """Return the id that the client has given to its request, or None."""
    if b'"id"' not in body:
        return None
    # It was scored: it is a JSON object.
    name = orjson.loads(body).get("id")
    return name if isinstance(name, str) else None


async def _serving(here: Here, deployment_id: str) -> DeploymentRecord:
    record = (await here.state.current()).deployment(deployment_id)
    if record is None or record.status is Status.DELETED:
        raise Problem(
            404,
            ScoringCode.DEPLOYMENT_NOT_FOUND,
            f"there is no deployment {deployment_id}: GET /api/deployments lists them",
        )
    if record.asset is None or record.revision == 0:
        raise Problem(
            503,
            ScoringCode.DEPLOYMENT_NOT_READY,
            f"deployment {deployment_id} is {record.status} and has never served",
        )
    return record


def _inputs(manifest: Manifest | None) -> list[TensorMetadata]:
    schema = manifest.input_schema if manifest else None
    return [
        TensorMetadata(name=field.name, datatype=_DATATYPES[field.type], shape=[-1])
        for field in (schema.fields if schema else ())
    ]


def _outputs(manifest: Manifest | None) -> list[TensorMetadata]:
    """Return the tensors of an answer; a classifier without probabilities sends only the first."""
    schema = manifest.output_schema if manifest else None
    if schema is None or schema.classes is None:
        kind = "INT64" if schema is not None and schema.task == "clustering" else "FP64"
        return [TensorMetadata(name="prediction", datatype=kind, shape=[-1])]
    kinds = {type(label) for label in schema.classes}
    kind = _LABELS.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"
    return [
        TensorMetadata(name="prediction", datatype=kind, shape=[-1]),
        TensorMetadata(name="probability", datatype="FP64", shape=[-1, len(schema.classes)]),
    ]
