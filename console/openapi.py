"""The OpenAPI 3.1 document: generated, with every error that an operation may answer."""

import http
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from console.problems import MEDIA_TYPE, ProblemDocument

TITLE = "Baton"
DESCRIPTION = """Deployments that keep their ID while the model behind them is replaced.

Every command and every request goes through Kafka: what is done here is in the audit log. Errors
are RFC 9457 problem documents; branch on `code`."""

_REF = "#/components/schemas/Problem"
_RETRY = {
    "Retry-After": {
        "description": "Seconds to wait before asking again.",
        "schema": {"type": "string"},
    }
}
# The guard's, and a broker's that is away: before any operation.
_EVERYWHERE = (401, 403, 421, 503)
_WITH_BODY = (400, 413, 415)

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """Return the ``responses`` of an operation that may answer with these problems."""
    return {status: _problem(status) for status in statuses}


def answers(
    status: int,
    description: str,
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,  # noqa: ANN401
) -> Responses:
    """Return the ``responses`` entry of an answer with these headers, each with its meaning."""
    shown = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in (headers or {}).items()
    }
    return {status: {"description": description, "headers": shown, **more}}


def install(app: FastAPI) -> None:
    """Let ``app`` describe itself."""

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _complete(
                get_openapi(
                    title=TITLE,
                    version=app.version,
                    description=DESCRIPTION,
                    routes=app.routes,
                    tags=app.openapi_tags,
                )
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way


def _problem(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": http.HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REF}}},
    }
    if status in {429, 503}:
        found["headers"] = _RETRY
    return found


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schema = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = components.setdefault("schemas", {})
    schemas.update(schema.pop("$defs", {}))
    schemas["Problem"] = schema
    # Never answered: a request that does not fit is a problem document, too.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"token": []}]
    for path in document["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            more = _WITH_BODY if "requestBody" in operation else ()
            for status in (*_EVERYWHERE, *more):
                responses.setdefault(str(status), _problem(status))
            if "422" in responses and MEDIA_TYPE not in responses["422"].get("content", {}):
                responses["422"] = _problem(422)
    return document
