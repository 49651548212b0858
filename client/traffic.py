"""The traffic of an installation, followed from the topics alone: no service is asked."""

import asyncio
import re
import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import orjson

from client.rates import Rate, Rates
from schemas.scoring import DEPLOYMENT_ID, STATUS
from transport.admin import ensure_topics
from transport.reading import POLL_MS, new_consumer, partitions_of
from transport.settings import Settings

# The last of an answer's members, in both protocols: which request it answers.
_PLACE = re.compile(rb'"request":\{"partition":(\d+),"offset":(\d+)\}')
# What may stand behind it: an asset's ID and a revision.
_TAIL_BYTES = 512


class Traffic:
    """Reads requests and responses from their present ends on; an ``async with`` block follows.

    It reads both topics whole: as much as all agents together.
    """

    def __init__(self, settings: Settings, window_s: int = 10) -> None:
        self._settings = settings
        self._requests = settings.topics.requests.name
        self._rates = Rates(time.monotonic(), window_s)
        self._consumer = new_consumer(settings.bootstrap_servers)
        self._follower: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        topics = self._settings.topics
        await ensure_topics(self._settings.bootstrap_servers, topics)
        where = [*partitions_of(topics.requests), *partitions_of(topics.responses)]
        async with AsyncExitStack() as opening:
            opening.push_async_callback(self._consumer.stop)
            await self._consumer.start()
            self._consumer.assign(where)
            await self._consumer.seek_to_end(*where)
            opening.pop_all()
        self._follower = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])
        await self._consumer.stop()

    def rates(self) -> dict[str, Rate]:
        """Return the rates by deployment. Raises whatever ended the reading."""
        if self._follower is not None and self._follower.done():
            self._follower.result()
        return self._rates.rates(time.monotonic())

    async def _follow(self) -> None:
        while True:
            found = await self._consumer.getmany(timeout_ms=POLL_MS)
            now_s = time.monotonic()
            # Requests first: their answers may be among what was fetched with them.
            for part in sorted(found, key=lambda part: part.topic != self._requests):
                for record in found[part]:
                    if part.topic == self._requests:
                        self._rates.take_request(part.partition, record.offset, record.timestamp)
                    else:
                        self._take_answer(record, now_s)

    def _take_answer(self, record: Any, now_s: float) -> None:  # noqa: ANN401 - aiokafka's record
        headers = dict(record.headers)
        deployment_id = headers.get(DEPLOYMENT_ID)
        if deployment_id is None:
            return
        self._rates.take_answer(
            deployment_id.decode(errors="replace"),
            now_s,
            at_ms=record.timestamp,
            place=place_of(record.value),
            code=_code(record.value) if headers.get(STATUS) == b"error" else None,
        )


def place_of(answer: bytes) -> tuple[int, int] | None:
    """Return the partition and offset of the request that ``answer`` is to, where it says so."""
    found = _PLACE.search(answer, max(len(answer) - _TAIL_BYTES, 0))
    return None if found is None else (int(found[1]), int(found[2]))


def _code(value: bytes) -> str:
    try:
        return str(orjson.loads(value)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "unknown"
