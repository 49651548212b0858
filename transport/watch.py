"""The topics, watched while a process runs: deleted, created anew or altered, it must not go on."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.errors import TopicError
from schemas.topics import Topic, Topics
from transport.admin import check_configs, check_partitions
from transport.connecting import admin_at
from transport.consumer import Consumer
from transport.ends import Ends
from transport.reading import partitions_of
from transport.topic_ids import describe

POLL_S = 2.0
REQUEST_TIMEOUT_MS = 5000

RECOVER = (
    "What it held is gone for this process: restore it from a backup, or start anew with another "
    "BATON_TOPIC_PREFIX"
)


async def watch_topics(
    bootstrap_servers: str,
    topics: Topics,
    ids: Mapping[str, bytes],
    on_failure: Callable[[BaseException], None],
) -> None:
    """Call ``on_failure`` with a TopicError once a topic is not what it was at the start.

    ``ids`` are those of ensure_topics. Clients of Kafka ask for a topic that is gone again and
    again, for ever. A broker that is away is no failure: then waiting is right.
    """
    while True:
        await asyncio.sleep(POLL_S)
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            on_failure(await _fault(bootstrap_servers, topics, ids))
            return


async def _fault(bootstrap_servers: str, topics: Topics, ids: Mapping[str, bytes]) -> TopicError:
    """Look again and again, over one connection, and return what is wrong once something is.

    A client for each look would leave 8 kB a second behind for the cycle collector, which runs
    seldom here. Raises KafkaError, OSError or TimeoutError where the broker is away.
    """
    suspected = ""
    async with admin_at(bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS) as admin:
        while True:
            try:
                await _check(admin, topics, ids)
                suspected = ""
            except TopicError as error:
                # Seen twice: a broker that has just started may not have heard of every topic.
                if str(error) == suspected:
                    return error
                suspected = str(error)
            await asyncio.sleep(POLL_S)


async def check_committed(bootstrap_servers: str, topic: Topic, group: str) -> None:
    """Raise TopicError where ``group`` has committed beyond an end of ``topic``.

    A consumer would be sent back to the beginning without a word. The broker forgets the offsets of
    a topic that is deleted, but not those that a member commits just after it.
    """
    where = partitions_of(topic)
    consumer = Consumer(
        bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        committed = {partition: await consumer.committed(partition) for partition in where}
        # Asked for afterwards: what was committed by then lies below them.
        ends = await Ends(consumer, where).now()
    finally:
        await consumer.stop()
    for partition, offset in committed.items():
        if offset is not None and offset > ends[partition]:
            raise TopicError(
                f"topic {topic.name} partition {partition.partition} ends at offset "
                f"{ends[partition]}, but group {group} has committed {offset}: it was deleted and "
                f"created anew. {RECOVER}, or delete the group's offsets"
            )


async def _check(admin: AIOKafkaAdminClient, topics: Topics, ids: Mapping[str, bytes]) -> None:
    found = await describe(admin, list(ids))
    for name, known in ids.items():
        if name not in found:
            raise TopicError(f"topic {name} was deleted while Baton runs. {RECOVER}")
        if found[name].id != known:
            raise TopicError(
                f"topic {name} was deleted and created anew while Baton runs: offsets in it "
                f"mean other records now. {RECOVER}"
            )
    await check_partitions(admin, topics)
    await check_configs(admin, topics)
