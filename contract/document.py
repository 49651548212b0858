"""The AsyncAPI 3.1 document. Source: https://www.asyncapi.com/docs/reference/specification/v3.1.0."""

from typing import Any

from contract import VERSION
from contract.definitions import Schema, definitions, standalone
from contract.messages import Message, messages
from schemas.topics import Topic, Topics

KAFKA = "0.5.0"

_CHANNELS = {
    "commands": "What Baton is asked to do: CloudEvents 1.0, Kafka binding, keyed by space.",
    "events": "What happened, and who asked for it: the audit log, kept for ever.",
    "state": "The deployment state table, compacted: the last record of a key counts.",
    "requests": "Rows to be scored.",
    "responses": "An answer for each request, on the request's partition number.",
    "dead-letters": "What nobody could be answered about, untouched, and why.",
}
_NUMERIC = {"retention.ms", "retention.bytes", "max.message.bytes"}
_DESCRIPTION = """\
Replaces the machine-learning model behind a live deployment, over Kafka. Programs send commands and
scoring requests, and read events, the state table and responses. Actions are told from Baton's
side: what it receives, others send.

Read `events`, `state` and `responses` with isolation level `read_committed`. Header values are
UTF-8. Topic names begin with `baton.` unless the installation sets `BATON_TOPIC_PREFIX`; partition
counts are the defaults. Fields and headers are added, none is changed: ignore what you do not know.
"""


def document() -> dict[str, Any]:
    """Return the document, as JSON values."""
    schemas = definitions()
    catalogue = messages(schemas)
    topics = {topic.name.removeprefix("baton."): topic for topic in Topics().all()}
    del schemas["EventData"]
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Baton",
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrapServers}",
                "protocol": "kafka",
                "description": "The Kafka that the parts of Baton share.",
                "variables": {"bootstrapServers": {"default": "127.0.0.1:9092"}},
            }
        },
        "channels": {name: _channel(name, topics[name], catalogue) for name in _CHANNELS},
        "operations": _operations(catalogue),
        "components": {
            "messages": {message.name: _message(message) for message in catalogue},
            "schemas": dict(sorted(schemas.items())),
        },
    }


def json_schemas() -> dict[str, Schema]:
    """Return the schema of each message's payload, and of its headers, by file name."""
    schemas = definitions()
    found = {}
    for message in messages(schemas):
        about = {"title": message.name, "description": message.summary}
        payload = standalone(message.payload, schemas)
        found[f"{message.name}.json"] = about | payload | about
        found[f"headers/{message.name}.json"] = about | standalone(message.headers, schemas)
    return found


def _channel(name: str, topic: Topic, catalogue: tuple[Message, ...]) -> dict[str, Any]:
    config: dict[str, Any] = {
        key: int(value) if key in _NUMERIC else value for key, value in topic.config
    }
    config["cleanup.policy"] = [config["cleanup.policy"]]
    return {
        "address": topic.name,
        "title": name,
        "description": _CHANNELS[name],
        "messages": {
            message.name: {"$ref": f"#/components/messages/{message.name}"}
            for message in catalogue
            if message.topic == name
        },
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": config,
                "bindingVersion": KAFKA,
            }
        },
    }


def _message(message: Message) -> dict[str, Any]:
    example = message.example
    told: dict[str, Any] = {
        "name": message.name,
        "title": message.name,
        "summary": message.summary.partition("\n\n")[0],
        "description": message.summary,
        "contentType": message.content_type,
        "headers": message.headers,
        "payload": message.payload,
        "bindings": {
            "kafka": {"key": message.key | {"examples": [example.key]}, "bindingVersion": KAFKA}
        },
        "examples": [
            {"name": message.name, "headers": example.headers, "payload": example.payload}
        ],
    }
    if message.correlation is not None:
        told["correlationId"] = {"location": f"$message.header#/{message.correlation}"}
    return told


def _operations(catalogue: tuple[Message, ...]) -> dict[str, Any]:
    def of(channel: str) -> list[dict[str, str]]:
        return [
            {"$ref": f"#/channels/{channel}/messages/{message.name}"}
            for message in catalogue
            if message.topic == channel
        ]

    def operation(
        action: str, channel: str, summary: str, reply: str | None = None
    ) -> dict[str, Any]:
        told: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "messages": of(channel),
        }
        if reply is not None:
            told["reply"] = {"channel": {"$ref": f"#/channels/{reply}"}, "messages": of(reply)}
        return told

    return {
        "applyCommand": operation(
            "receive",
            "commands",
            "Apply a command once; it ends with one event, with its id as ce_causationid.",
            "events",
        ),
        "tellEvent": operation("send", "events", "Tell what happened, in the command's order."),
        "keepState": operation("send", "state", "Keep what is now, together with its event."),
        "score": operation(
            "receive", "requests", "Score rows by the asset that serves now.", "responses"
        ),
        "answer": operation("send", "responses", "Answer a request once."),
        "setAside": operation("send", "dead-letters", "Set aside what has no answer."),
    }
