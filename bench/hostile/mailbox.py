"""What those who send bad input are told."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from schemas.scoring import REQUEST_ID, STATUS
from transport.reading import new_consumer, partitions_of
from transport.settings import Settings

# The ids of what is bad begin so.
BAD = "bad-"
POLL_S = 0.05


class Mailbox:
    """What came to those who sent bad input: answers, events and dead letters, by id."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.told: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Mailbox"]:
        """Follow the topics within the block."""
        consumer = new_consumer(self._settings.bootstrap_servers)
        await consumer.start()
        topics = self._settings.topics
        where = [
            part
            for topic in (topics.responses, topics.events, topics.dead_letters)
            for part in partitions_of(topic)
        ]
        consumer.assign(where)
        await consumer.seek_to_end(*where)
        task = asyncio.create_task(self._follow(consumer))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            await consumer.stop()

    async def tell(self, names: Sequence[str], timeout_s: float) -> str:
        """Wait for what was said to ``names``; in words, with counts."""
        deadline = time.monotonic() + timeout_s
        while not all(name in self.told for name in names):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(POLL_S)
        counted = Counter(self.told.get(name, "NOTHING") for name in names)
        if len(counted) == 1:
            return next(iter(counted))
        return ", ".join(f"{count} {said}" for said, count in counted.most_common())

    async def _follow(self, consumer: Any) -> None:  # noqa: ANN401 - aiokafka's consumer
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    headers = {
                        name: (raw or b"").decode(errors="replace") for name, raw in record.headers
                    }
                    name = (
                        headers.get("ce_causationid")
                        or headers.get("ce_id")
                        or headers.get(REQUEST_ID)
                    )
                    if name is not None and name.startswith(BAD):
                        self.told[name] = self._said(record, headers)

    def _said(self, record: Any, headers: dict[str, str]) -> str:  # noqa: ANN401 - same
        if record.topic == self._settings.topics.dead_letters.name:
            return "dead letter"
        if headers.get(STATUS) == "ok":
            # Of some answers 5 MB: to read them would hold up the bystanders' client.
            return "an answer"
        body = json.loads(record.value)
        if record.topic == self._settings.topics.events.name:
            return str(body.get("code") or headers["ce_type"].split(".")[2])
        return str(body["error"]["code"])
