"""JSON Schemas of the code's own types, each once, referring to each other as AsyncAPI does."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from contract import bodies
from schemas.checks import Code
from schemas.commands import COMMANDS, CommandData, Reason
from schemas.events import EventData, EventName
from schemas.manifest import Manifest
from schemas.records import (
    AssetRecord,
    CommandRecord,
    CursorRecord,
    DeploymentRecord,
    SpaceRecord,
    Status,
)

Schema = dict[str, Any]

POINTER = "#/components/schemas/"

RECORDS: dict[str, type[BaseModel]] = {
    "space": SpaceRecord,
    "asset": AssetRecord,
    "deployment": DeploymentRecord,
    "command": CommandRecord,
    "cursor": CursorRecord,
}
_BODIES = (
    bodies.WmlRequest,
    bodies.V2Request,
    bodies.WmlAnswer,
    bodies.V2Answer,
    bodies.ErrorAnswer,
)

# What an event of each type has beside the command it is of; all else that EventData knows may
# be left out where it does not apply, and is named here where it may be there.
_CHANGE = ("deployment_id", "name", "status", "revision", "after", "checks")
_WHY = ("before", "reason", "comment")
EVENTS: dict[EventName, tuple[tuple[str, ...], tuple[str, ...]]] = {
    EventName.SPACE_CREATED: (("name",), ("description",)),
    EventName.ASSET_PROMOTED: (("asset_id", "manifest"), ()),
    EventName.UPDATE_STARTED: (_CHANGE, (*_WHY, "description")),
    EventName.DEPLOYMENT_CREATED: ((*_CHANGE, "passed"), _WHY),
    EventName.DEPLOYMENT_UPDATED: ((*_CHANGE, "passed"), _WHY),
    EventName.DEPLOYMENT_ROLLED_BACK: ((*_CHANGE, "passed"), _WHY),
    EventName.UPDATE_FAILED: ((*_CHANGE, "passed"), _WHY),
    EventName.UPDATE_CHECKED: (
        ("deployment_id", "asset_id", "status", "revision", "passed", "dry_run", "checks"),
        (),
    ),
    EventName.DEPLOYMENT_DELETED: (("deployment_id", "status", "revision"), ("before",)),
    EventName.ASSET_DELETED: (("asset_id",), ()),
    EventName.COMMAND_REJECTED: (
        ("code", "message", "checks"),
        ("deployment_id", "asset_id", "dry_run"),
    ),
}
_ALWAYS = ("space_id", "command_id", "command_type")
# EventData holds them as text or as an object, for readers of a later version.
_NARROWED: dict[str, Any] = {
    "status": Status,
    "code": Code,
    "reason": Reason,
    "manifest": Manifest,
}


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 - pydantic's
        # A title for each property says its name once more.
        return False


def definitions() -> dict[str, Schema]:
    """Return the schemas by name: commands, records and bodies, and all that these consist of."""
    named: list[type[CommandData | BaseModel]] = [
        *COMMANDS.values(),
        *RECORDS.values(),
        *_BODIES,
        EventData,
    ]
    _, found = models_json_schema(
        [(model, "validation") for model in named],
        ref_template=POINTER + "{model}",
        schema_generator=_Untitled,
    )
    schemas: dict[str, Schema] = found["$defs"]
    schemas[Code.__name__] = {
        "type": "string",
        "enum": list(Code),
        "description": (Code.__doc__ or "").strip(),
    }
    return schemas


def ref(model: type) -> Schema:
    """Return a reference to the schema of ``model``."""
    return {"$ref": f"{POINTER}{model.__name__}"}


def event_schema(name: EventName, event: Schema) -> Schema:
    """Return the data of an event of one type; ``event`` is the schema of EventData.

    What does not apply is left out of the JSON, never null; fields may be added.
    """
    required, optional = EVENTS[name]
    known = (*_ALWAYS, "actor", *required, *optional)
    free = {"space_id"} if name is EventName.COMMAND_REJECTED else set()
    return {
        "type": "object",
        "properties": {field: _present(field, event["properties"][field]) for field in known},
        "required": [field for field in (*_ALWAYS, *required) if field not in free],
        "additionalProperties": True,
    }


def _present(field: str, schema: Schema) -> Schema:
    """Return the schema of a field that is there: not null, and as narrow as the worker writes."""
    if field in _NARROWED:
        return ref(_NARROWED[field])
    (kind,) = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    return dict(kind)


def standalone(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """Return ``schema`` as a document of its own: what it refers to is under ``$defs``."""
    needed: dict[str, Schema] = {}

    def local(part: Any) -> Any:  # noqa: ANN401 - any part of a schema
        if isinstance(part, list):
            return [local(entry) for entry in part]
        if not isinstance(part, dict):
            return part
        target = part.get("$ref")
        if isinstance(target, str):
            name = target.removeprefix(POINTER)
            if name not in needed:
                needed[name] = {}
                needed[name] = local(schemas[name])
            return {**part, "$ref": f"#/$defs/{name}"}
        return {key: local(entry) for key, entry in part.items()}

    whole: Schema = local(schema)
    if set(whole) == {"$ref"} and len(needed) >= 1:
        # A reference alone says little: its target is the document.
        whole = needed.pop(whole["$ref"].removeprefix("#/$defs/"))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return head | whole | ({"$defs": dict(sorted(needed.items()))} if needed else {})
