"""Topics: created where missing, checked where present."""

import asyncio
import logging
import time
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from schemas.errors import TopicError
from schemas.topics import Topic, Topics
from transport.connecting import admin_at
from transport.topic_ids import describe

log = logging.getLogger(__name__)

# The broker answers "unknown topic" for a moment after it has accepted a creation (measured).
METADATA_TIMEOUT_S = 30.0
HEARD_S = 5.0
POLL_S = 0.05

# A wrong value of these loses data, order, or every reader. Others are the operator's to tune.
_BINDING = frozenset({"cleanup.policy", "message.timestamp.type", "compression.type"})


async def wait_for_broker(bootstrap_servers: str, timeout_s: float) -> None:
    """Return once a broker answers at ``bootstrap_servers``; TimeoutError after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            async with admin_at(bootstrap_servers, request_timeout_ms=5000, known_s=0) as admin:
                await admin.describe_cluster()
        except (KafkaError, OSError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"no Kafka answers at {bootstrap_servers} after {timeout_s:.0f} s: {error}"
                ) from error
            await asyncio.sleep(POLL_S)
        else:
            return


async def ensure_topics(bootstrap_servers: str, topics: Topics) -> dict[str, bytes]:
    """Create the topics that are missing and check the others; return their ids by name.

    Raises TopicError where a topic has another partition count or configuration than the table
    says: going on would break the order of a space or lose the state.
    """
    async with admin_at(bootstrap_servers) as admin:
        deadline = time.monotonic() + METADATA_TIMEOUT_S
        while True:
            try:
                return await _ensured(admin, topics, deadline)
            except KafkaError as error:
                # Of several brokers one has just died, or stands still: the next may be another.
                if not error.retriable or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(POLL_S)


async def _ensured(admin: AIOKafkaAdminClient, topics: Topics, deadline: float) -> dict[str, bytes]:
    present = await describe(admin, [topic.name for topic in topics.all()])
    for topic in topics.all():
        if topic.name not in present:
            await _create(admin, topic, deadline)
    while (ids := await check_partitions(admin, topics)) is None:
        if time.monotonic() > deadline:
            raise TopicError(
                f"the broker still does not know its topics after {METADATA_TIMEOUT_S:.0f} s"
            )
        await asyncio.sleep(POLL_S)
    await check_configs(admin, topics)
    return ids


async def check_partitions(admin: AIOKafkaAdminClient, topics: Topics) -> dict[str, bytes] | None:
    """Return the ids of the topics, or None where one is missing or has no leader yet.

    Raises TopicError where one has another partition count.
    """
    found = await describe(admin, [topic.name for topic in topics.all()])
    for topic in topics.all():
        described = found.get(topic.name)
        if described is None or not described.led:
            return None
        if described.partitions != topic.partitions:
            raise TopicError(
                f"topic {topic.name} has {described.partitions} partitions, the settings say "
                f"{topic.partitions}: set BATON_CONTROL_PARTITIONS / BATON_DATA_PARTITIONS to what "
                "is there, or use another BATON_TOPIC_PREFIX"
            )
    return {name: described.id for name, described in found.items()}


async def check_configs(admin: AIOKafkaAdminClient, topics: Topics) -> None:
    """Raise TopicError where a topic's configuration is not what Baton needs."""
    found = await configs_of(admin, [topic.name for topic in topics.all()])
    for topic in topics.all():
        check_config(topic, found[topic.name])


async def _create(admin: AIOKafkaAdminClient, topic: Topic, deadline: float) -> None:
    new = NewTopic(topic.name, topic.partitions, 1, topic_configs=dict(topic.config))
    # -1: the broker's own default (KIP-464), which aiokafka's constructor refuses.
    new.replication_factor = -1
    told = False
    while True:
        ((_, code, *rest),) = (await admin.create_topics([new])).topic_errors
        error = for_code(code)
        # Another process of ours may have been quicker.
        if not code or error is TopicAlreadyExistsError:
            return
        detail = rest[0] if rest else error.__name__
        # The brokers that are to hold it may be about to start, or to wake up.
        passing = error.retriable or error is InvalidReplicationFactorError
        if not passing or time.monotonic() > deadline:
            raise TopicError(f"cannot create topic {topic.name}: {detail}")
        if not told:
            log.warning("cannot create topic %s yet, trying again: %s", topic.name, detail)
            told = True
        await asyncio.sleep(POLL_S)


async def configs_of(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Return the configurations of the topics, with what they take over from the broker.

    Raises TopicError where one may not be read, KafkaError where it cannot be read now:
    UnknownTopicOrPartitionError where it is not there.
    """
    deadline = time.monotonic() + HEARD_S
    while True:
        try:
            return await _configs_of(admin, names)
        except UnknownTopicOrPartitionError:
            # Of several brokers, the one that was asked may not have heard of a new topic yet.
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(POLL_S)


async def _configs_of(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found = {}
    for answer in await admin.describe_configs(resources):
        for code, message, _type, name, entries in answer.resources:
            if code:
                error = for_code(code)
                told = f"no configuration of topic {name}: {message or error.__name__}"
                if error.retriable:
                    raise error(told)
                advice = "Baton must be allowed to read it (DescribeConfigs)"
                raise TopicError(f"{told.rstrip('.')}. {advice}")
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def check_config(topic: Topic, config: Mapping[str, str]) -> None:
    """Raise TopicError where ``config``, that of ``topic``, is not what Baton needs."""
    # The audit log must be kept for ever: there its retention binds too.
    binding = _BINDING | (
        {"retention.ms"} if dict(topic.config).get("retention.ms") == "-1" else set()
    )
    for key, expected in topic.config:
        if key in binding and config.get(key) != expected:
            raise TopicError(
                f"topic {topic.name} has {key}={config.get(key)}, Baton needs {expected}: alter "
                "the topic, or use another BATON_TOPIC_PREFIX"
            )
