"""Kafka's metadata of topics with their ids, which aiokafka's own request leaves out.

Metadata, version 12 (Kafka 2.8 or newer): https://kafka.apache.org/protocol#The_Messages_Metadata
"""

import contextlib
import random
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Described:
    """A topic as the broker has it. ``id`` changes when it is deleted and created again."""

    id: bytes
    partitions: int
    # How many brokers hold each partition; of several, the fewest.
    copies: int
    # Whether every partition has a leader: just after a creation, or a broker's death, not.
    led: bool


async def describe(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, Described]:
    """Return those of the topics ``names`` that exist; asking creates none.

    Raises KafkaError where no broker answers.
    """
    answer = await _asked(admin._client, _MetadataRequest(names))  # noqa: SLF001 - aiokafka offers no request of one's own
    return {
        topic["name"]: Described(
            topic["id"],
            len(topic["partitions"]),
            min((len(part["replicas"]) for part in topic["partitions"]), default=0),
            bool(topic["partitions"])
            and not topic["error_code"]
            and all(part["leader"] >= 0 for part in topic["partitions"]),
        )
        for topic in answer.to_object()["topics"]
        if for_code(topic["error_code"]) is not UnknownTopicOrPartitionError
    }


async def _asked(client: Any, request: "_MetadataRequest") -> Any:  # noqa: ANN401 - aiokafka's own
    """Return what the first broker that answers says: of several one may be away."""
    nodes = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(nodes)
    *others, last = nodes
    for node in others:
        with contextlib.suppress(KafkaError):
            return await client.send(node, request)
    return await client.send(last, request)


class _Uuid(AbstractType):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(_ID_BYTES)


_TEXT = CompactString("utf-8")
_PARTITION = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", _TEXT),
                ("port", Int32),
                ("rack", _TEXT),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("id", _Uuid),
                ("is_internal", Boolean),
                ("partitions", CompactArray(*_PARTITION)),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestV12(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("id", _Uuid), ("name", _TEXT), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestV12]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_MetadataRequestV12]) -> Any:  # noqa: ANN401
        topics: list[Any] = [(bytes(_ID_BYTES), name, {}) for name in self._names]
        return request_struct_class(topics, False, False, {})  # noqa: FBT003 - fields by place
