"""Every message of every topic: its key, headers, payload and an example."""

from dataclasses import dataclass
from typing import Any

from contract import bodies, examples
from contract.definitions import RECORDS, Schema, event_schema, ref
from schemas.cloudevents import JSON_CONTENT, STRUCTURED
from schemas.commands import COMMANDS, command_type
from schemas.events import PREFIX, SOURCE, SUFFIX, EventName
from schemas.ids import ID_PATTERN
from schemas.scoring import (
    ASSET_ID,
    DEADLINE,
    DEPLOYMENT_ID,
    MIN_REVISION,
    REQUEST_ID,
    REVISION,
    STATUS,
)
from schemas.topics import dead_letter_headers
from schemas.traces import MAX_TRACESTATE, TRACEPARENT, TRACESTATE

JSON = JSON_CONTENT.decode()
TEXT: Schema = {"type": "string", "minLength": 1}
NUMBER: Schema = {"type": "string", "pattern": "^[0-9]{1,18}$"}
TIME: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339."}
_ANY_KEY: Schema = {"type": "string", "description": "Any bytes, or none."}

_DONE = {
    EventName.SPACE_CREATED: "A space was made.",
    EventName.ASSET_PROMOTED: "An asset was copied into a space.",
    EventName.UPDATE_STARTED: "A creation, replace or rollback passed the gate; it is verified.",
    EventName.DEPLOYMENT_CREATED: "A new deployment was verified and serves.",
    EventName.DEPLOYMENT_UPDATED: "The candidate was verified and serves.",
    EventName.UPDATE_FAILED: "The candidate failed its verification; what served goes on serving.",
    EventName.UPDATE_CHECKED: "The answer to a dry run that passed the gate.",
    EventName.DEPLOYMENT_ROLLED_BACK: "An asset of an earlier revision was verified and serves.",
    EventName.DEPLOYMENT_DELETED: "A deployment was ended.",
    EventName.ASSET_DELETED: "An asset was removed.",
    EventName.COMMAND_REJECTED: "A command was refused and changed nothing.",
}


@dataclass(frozen=True)
class Example:
    """A record as it lies in its topic; ``payload`` is its value, read."""

    key: str
    headers: dict[str, str]
    payload: Any


@dataclass(frozen=True)
class Message:
    """A kind of record. ``name`` is its topic's kind and its own: ``command.replace-asset``.

    ``key``, ``headers`` and ``payload`` are schemas. ``correlation``: the header by which an answer
    is told from others.
    """

    name: str
    topic: str
    summary: str
    key: Schema
    headers: Schema
    payload: Schema
    example: Example
    content_type: str = JSON
    correlation: str | None = None


def messages(schemas: dict[str, Schema]) -> tuple[Message, ...]:
    """Return every message; ``schemas`` are those of contract.definitions."""
    event = schemas["EventData"]
    return (
        *(_command(name) for name in COMMANDS),
        _structured(),
        *(_event(name, event) for name in EventName),
        *(_record(kind) for kind in RECORDS),
        _tombstone(),
        *_requests(),
        *_answers(),
        _dead_letter(),
    )


# A trace that the sender carries goes on: to the events of a command, to the answer of a request.
_TRACE: dict[str, Schema] = {
    TRACEPARENT: TEXT | {"description": "W3C Trace Context: goes on to what follows from it."},
    TRACESTATE: {"type": "string", "maxLength": MAX_TRACESTATE},
}


def _headers(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Return a schema of headers: UTF-8 texts; those that nobody knows are ignored."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": True,
    }


def _doc(model: type) -> str:
    return (model.__doc__ or "").strip()


def _command(name: str) -> Message:
    model = COMMANDS[name]
    data = model.model_validate(examples.COMMANDS[name])
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": examples.COMMAND,
        "ce_source": examples.SOURCE,
        "ce_type": command_type(data),
        "ce_time": examples.TIME,
        "ce_actor": examples.ACTOR,
        "content-type": JSON,
    }
    headers = _headers(
        {
            "ce_specversion": {"const": "1.0"},
            "ce_id": TEXT | {"description": "With the source the identity of the command."},
            "ce_source": TEXT | {"description": "The program that sends it."},
            "ce_type": {"const": command_type(data)},
        },
        {
            "ce_time": TIME,
            "ce_actor": {"type": "string", "description": "The person who asks."},
            "content-type": {"type": "string", "default": JSON},
        }
        | _TRACE,
    )
    return Message(
        f"command.{name}",
        "commands",
        _doc(model),
        _space_key(),
        headers,
        ref(model),
        Example("fraud", attributes, examples.COMMANDS[name]),
        correlation="ce_id",
    )


def _space_key() -> Schema:
    return {"type": "string", "pattern": ID_PATTERN, "description": "The space's id."}


def _structured() -> Message:
    kinds = []
    for name, model in COMMANDS.items():
        data = model.model_validate(examples.COMMANDS[name])
        properties = {"type": {"const": command_type(data)}, "data": ref(model)}
        kinds.append({"properties": properties, "required": ["type", "data"]})
    payload = {
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": TEXT,
            "source": TEXT,
            "type": TEXT,
            "time": TIME,
            "actor": {"type": "string"},
            "data": {"type": "object"},
        },
        "required": ["specversion", "id", "source", "type", "data"],
        "oneOf": kinds,
    }
    whole = {
        "specversion": "1.0",
        "id": examples.COMMAND,
        "source": examples.SOURCE,
        "type": "baton.command.create-space.v1",
        "time": examples.TIME,
        "actor": examples.ACTOR,
        "data": examples.COMMANDS["create-space"],
    }
    content = {"type": "string", "pattern": "^" + STRUCTURED.replace("+", "\\+")}
    return Message(
        "command.structured",
        "commands",
        "Any command in structured mode: attributes and data in one JSON object.",
        _space_key(),
        _headers({"content-type": content}, _TRACE),
        payload,
        Example("fraud", {"content-type": STRUCTURED}, whole),
        content_type=STRUCTURED,
    )


def _event(name: EventName, event: Schema) -> Message:
    data = examples.EVENTS[name]
    kind = f"{PREFIX}{name}{SUFFIX}"
    place = "baton.events-2-42"
    subject = (
        f"deployment/{data['deployment_id']}"
        if "deployment_id" in data
        else f"asset/{data['asset_id']}"
        if "asset_id" in data
        else "space/fraud"
    )
    if name is EventName.COMMAND_REJECTED:
        subject = f"command/{examples.COMMAND}"
    headers = {
        "ce_specversion": "1.0",
        "ce_id": place,
        "ce_source": SOURCE,
        "ce_type": kind,
        "ce_subject": subject,
        "ce_time": examples.TIME,
        "ce_causationid": examples.COMMAND,
        "ce_causationsource": examples.SOURCE,
        "ce_sequence": f"{42:020d}",
        "content-type": JSON,
    }
    schema = _headers(
        {
            "ce_specversion": {"const": "1.0"},
            "ce_id": TEXT,
            "ce_source": {"const": SOURCE},
            "ce_type": {"const": kind},
            "ce_subject": TEXT | {"description": "What it is about: kind/ID."},
            "ce_time": TIME | {"description": "When the broker took the command: RFC 3339 UTC."},
            "ce_causationid": TEXT | {"description": "The command's id."},
            "ce_causationsource": TEXT | {"description": "The command's source."},
            "ce_sequence": {
                "type": "string",
                "pattern": "^[0-9]{20}$",
                "description": "Counts the partition's events from 1, without a gap.",
            },
            "content-type": {"const": JSON},
        },
        _TRACE,
    )
    key = {"type": "string", "description": "The space's id; empty where the command named none."}
    return Message(
        f"event.{name}",
        "events",
        _DONE[name],
        key,
        schema,
        event_schema(name, event),
        Example("fraud", headers, data),
        correlation="ce_causationid",
    )


def _record(kind: str) -> Message:
    key, value = examples.RECORDS[kind]
    schema: Schema = {"type": "string", "pattern": f"^{kind}/.+$"}
    if kind == key:
        schema = {"const": kind}
    return Message(
        f"state.{kind}",
        "state",
        _doc(RECORDS[kind]),
        schema,
        _headers({}),
        ref(RECORDS[kind]),
        Example(key, {}, value),
    )


def _tombstone() -> Message:
    key, _ = examples.RECORDS["command"]
    return Message(
        "state.tombstone",
        "state",
        "No value: a command is forgotten, seven days after it came.",
        {"type": "string", "pattern": "^command/.+$"},
        _headers({}),
        {"type": "null"},
        Example(key, {}, None),
    )


def _requests() -> tuple[Message, ...]:
    headers = _headers(
        {},
        {
            DEPLOYMENT_ID: TEXT | {"maxLength": 1024, "description": "Or in the body."},
            REQUEST_ID: TEXT
            | {"maxLength": 1024, "description": "Comes back with the answer. Or in the body."},
            MIN_REVISION: NUMBER
            | {"description": "Waits, bounded, for at least that revision. Or in the body."},
            DEADLINE: NUMBER
            | {"description": "Epoch ms: past it nobody needs the answer. Or in the body."},
        }
        | _TRACE,
    )
    given = {DEPLOYMENT_ID: examples.DEPLOYMENT, REQUEST_ID: examples.REQUEST}
    return (
        Message(
            "request.wml",
            "requests",
            "Score rows: Watson Machine Learning v4.",
            _ANY_KEY,
            headers,
            ref(bodies.WmlRequest),
            Example("", given, examples.WML_REQUEST),
            correlation=REQUEST_ID,
        ),
        Message(
            "request.v2",
            "requests",
            "Score rows: Open Inference Protocol V2.",
            _ANY_KEY,
            headers,
            ref(bodies.V2Request),
            Example("", {}, examples.V2_REQUEST),
            correlation=REQUEST_ID,
        ),
    )


def _answers() -> tuple[Message, ...]:
    about = {DEPLOYMENT_ID: TEXT, ASSET_ID: TEXT, REVISION: NUMBER}
    served = {
        DEPLOYMENT_ID: examples.DEPLOYMENT,
        ASSET_ID: examples.WML_ANSWER["asset_id"],
        REVISION: str(examples.WML_ANSWER["revision"]),
    }
    answered = _headers({REQUEST_ID: TEXT, STATUS: {"const": "ok"}} | about, _TRACE)
    refused = _headers({REQUEST_ID: TEXT, STATUS: {"const": "error"}}, about | _TRACE)
    told = {
        "wml": (bodies.WmlAnswer, answered, examples.WML_ANSWER),
        "v2": (bodies.V2Answer, answered, examples.V2_ANSWER),
        "error": (bodies.ErrorAnswer, refused, examples.ERROR_ANSWER),
    }
    return tuple(
        Message(
            f"response.{name}",
            "responses",
            _doc(model),
            _ANY_KEY | {"description": "The request's."},
            headers,
            ref(model),
            Example(
                "",
                {
                    REQUEST_ID: examples.REQUEST,
                    **served,
                    STATUS: headers["properties"][STATUS]["const"],
                },
                body,
            ),
            correlation=REQUEST_ID,
        )
        for name, (model, headers, body) in told.items()
    )


def _dead_letter() -> Message:
    headers = {
        name: text.decode()
        for name, text in dead_letter_headers(
            topic="baton.commands",
            partition=2,
            offset=17,
            at=examples.TIME,
            reason="the value is not JSON: Expecting value: line 1 column 1 (char 0)",
        )
    }
    kinds: dict[str, Schema] = dict.fromkeys(headers, TEXT)
    kinds |= {
        "dead-letter-partition": NUMBER,
        "dead-letter-offset": NUMBER,
        "dead-letter-time": TIME,
    }
    return Message(
        "dead-letter",
        "dead-letters",
        "A record that no answer could be given to: its bytes, key and headers untouched.",
        _ANY_KEY | {"description": "The original's."},
        _headers(kinds),
        {"description": "The original's bytes, whatever they are."},
        Example("fraud", headers, "replace it!"),
        content_type="application/octet-stream",
    )
