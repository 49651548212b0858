"""Clients of Kafka that know a broker of its cluster before they ask anything of it.

A broker that stood still for longer than its session is fenced, and for a moment after it woke up
(`broker.heartbeat.interval.ms`, 2 s by default) it answers and names no broker, not even itself.
aiokafka 0.14 takes that for a connection: the next question has nobody to be sent to, which is an
AssertionError or worse.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

REQUEST_TIMEOUT_MS = 40_000
KNOWN_S = 30.0
POLL_S = 0.05


async def known(client: Any, timeout_s: float = KNOWN_S) -> None:  # noqa: ANN401 - aiokafka's own
    """Wait until an AIOKafkaClient that is connected knows a broker.

    Raises KafkaConnectionError where none is named within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while not client.cluster.brokers():
        if time.monotonic() > deadline:
            raise KafkaConnectionError("the broker that answers names no broker of its cluster")
        await asyncio.sleep(POLL_S)
        await client.force_metadata_update()


@contextlib.asynccontextmanager
async def admin_at(
    bootstrap_servers: str,
    *,
    request_timeout_ms: int = REQUEST_TIMEOUT_MS,
    known_s: float = KNOWN_S,
) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect an admin client for the block, one that knows a broker.

    Raises KafkaConnectionError where none answers, or is named within ``known_s``.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap_servers, request_timeout_ms=request_timeout_ms
    )
    try:
        await admin.start()
        await known(admin._client, known_s)  # noqa: SLF001 - it has no other name
        yield admin
    finally:
        await admin.close()
