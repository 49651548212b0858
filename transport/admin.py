"""Topics: created where missing, checked where present."""

import asyncio
import time
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from schemas.errors import TopicError
from schemas.topics import Topic, Topics

# The broker answers "unknown topic" for a moment after it has accepted a creation (measured).
METADATA_TIMEOUT_S = 30.0
POLL_S = 0.05

# A wrong value of these loses data or order. Others are the operator's to tune.
_BINDING = frozenset({"cleanup.policy"})


async def wait_for_broker(bootstrap_servers: str, timeout_s: float) -> None:
    """Return once a broker answers at ``bootstrap_servers``; TimeoutError after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=5000)
        try:
            await admin.start()
            await admin.describe_cluster()
        except (KafkaError, OSError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"no Kafka answers at {bootstrap_servers} after {timeout_s:.0f} s: {error}"
                ) from error
            await asyncio.sleep(POLL_S)
        else:
            return
        finally:
            await admin.close()


async def ensure_topics(bootstrap_servers: str, topics: Topics) -> None:
    """Create the topics that are missing and check the others, then wait for their metadata.

    Raises TopicError where a topic has another partition count or clean-up policy than the table
    says: going on would break the order of a space or lose the state.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        present = set(await admin.list_topics())
        for topic in topics.all():
            if topic.name not in present:
                await _create(admin, topic)
        deadline = time.monotonic() + METADATA_TIMEOUT_S
        while not await _check_partitions(admin, topics):
            if time.monotonic() > deadline:
                raise TopicError(
                    f"the broker still does not know its topics after {METADATA_TIMEOUT_S:.0f} s"
                )
            await asyncio.sleep(POLL_S)
        for topic in topics.all():
            await _check_config(admin, topic)
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, topic: Topic) -> None:
    new = NewTopic(topic.name, topic.partitions, 1, topic_configs=dict(topic.config))
    # -1: the broker's own default (KIP-464), which aiokafka's constructor refuses.
    new.replication_factor = -1
    answer = await admin.create_topics([new])
    for name, code, *rest in answer.topic_errors:
        error = for_code(code)
        # Another process of ours may have been quicker.
        if code and error is not TopicAlreadyExistsError:
            detail = rest[0] if rest else error.__name__
            raise TopicError(f"cannot create topic {name}: {detail}")


async def _check_partitions(admin: AIOKafkaAdminClient, topics: Topics) -> bool:
    described = await admin.describe_topics([topic.name for topic in topics.all()])
    found: dict[str, list[dict[str, Any]]] = {
        entry["topic"]: entry["partitions"] for entry in described if not entry["error_code"]
    }
    for topic in topics.all():
        partitions = found.get(topic.name)
        if not partitions or any(part["leader"] < 0 for part in partitions):
            return False
        if len(partitions) != topic.partitions:
            raise TopicError(
                f"topic {topic.name} has {len(partitions)} partitions, the settings say "
                f"{topic.partitions}: set BATON_CONTROL_PARTITIONS / BATON_DATA_PARTITIONS to what "
                "is there, or use another BATON_TOPIC_PREFIX"
            )
    return True


async def _check_config(admin: AIOKafkaAdminClient, topic: Topic) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name)
    (answer,) = await admin.describe_configs([resource])
    values = {entry[0]: entry[1] for *_, entries in answer.resources for entry in entries}
    # The audit log must be kept for ever: there its retention binds too.
    binding = _BINDING | (
        {"retention.ms"} if dict(topic.config).get("retention.ms") == "-1" else set()
    )
    for key, expected in topic.config:
        if key in binding and values.get(key) != expected:
            raise TopicError(
                f"topic {topic.name} has {key}={values.get(key)}, Baton needs {expected}: alter "
                "the topic, or use another BATON_TOPIC_PREFIX"
            )
