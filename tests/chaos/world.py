"""What a client knows of the world: the events, followed from their first through any outage."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError

from client.audit import read_event
from schemas.events import FINAL
from schemas.topics import Topic
from tests.chaos.log import DELETED, SERVING, announced
from tests.chaos.notes import Notebook
from transport.reading import partitions_of, read
from transport.settings import Settings

RETRY_S = 0.2


async def follow(settings: Settings, topic: Topic) -> AsyncIterator[Any]:
    """Yield the records of ``topic`` from its beginning, again from there after an error."""
    while True:
        with contextlib.suppress(KafkaError, OSError):
            found = read(settings.bootstrap_servers, partitions_of(topic), follow=True)
            async with aclosing(found) as records:
                async for record in records:
                    yield record
        await asyncio.sleep(RETRY_S)


@dataclass(slots=True)
class Deployment:
    """A deployment as its events have it."""

    id: str
    space: str
    revision: int = 0
    asset: str | None = None


class World:
    """Follows the events: what is deployed, and who waits for which command. Notes what it sees."""

    def __init__(self, settings: Settings, book: Notebook) -> None:
        self._settings = settings
        self._book = book
        self._waiting: dict[tuple[str, str], asyncio.Future[Any]] = {}
        self.live: dict[str, Deployment] = {}
        self.gone: list[str] = []

    async def watch(self) -> None:
        """Follow for ever."""
        seen: set[tuple[int, int]] = set()
        async for record in follow(self._settings, self._settings.topics.events):
            event = read_event(record)
            data = event.data.model_dump(mode="json", exclude_none=True)
            place = {"partition": event.partition, "sequence": event.sequence}
            if (event.partition, record.offset) not in seen:
                seen.add((event.partition, record.offset))
                shows = {"deployment": data.get("deployment_id")}
                shows["value"] = announced(event.name, data)
                self._book.note("seen", **place, event=event.name, **shows)
                self._learn(event.name, data)
            key = (event.attributes["causationsource"], event.command_id)
            waiting = self._waiting.pop(key, None) if event.name in FINAL else None
            if waiting is not None and not waiting.done():
                waiting.set_result((event.name, data))

    def outcome(self, source: str, command_id: str) -> "asyncio.Future[Any]":
        """Return what will have the command's final event: its name and data."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[source, command_id] = future
        return future

    def _learn(self, name: str, data: dict[str, Any]) -> None:
        if name in SERVING:
            known = self.live.setdefault(
                data["deployment_id"], Deployment(data["deployment_id"], data["space_id"])
            )
            known.revision, known.asset = data["revision"], data["after"]["asset_id"]
        elif announced(name, data) == DELETED:
            self.live.pop(data["deployment_id"], None)
            self.gone.append(data["deployment_id"])
