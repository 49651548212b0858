"""Commands that the console publishes for those who ask it, and what became of them."""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from client.audit import AuditEvent
from client.commands import BatonClient
from client.errors import CommandIdReusedError, OutcomeTimeout
from client.outcome import Outcome, is_of, judged
from console.feed import Feed
from console.state import State
from schemas.commands import PREFIX, SUFFIX
from schemas.records import ACCEPTED
from schemas.topics import partition_for
from transport.reading import new_consumer
from transport.settings import Settings
from transport.transactions import Write

SOURCE = "/baton/console"
# Commands that were published and are not in the table yet: a view of the topic's end.
MAX_PUBLISHED = 10_000
# Clocks of broker and worker may differ by this much.
SKEW_MS = 60_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a command is: ``pending``, ``running``, or ended with ``event``.

    An event that is older than the log's reach leaves ``outcome`` alone.
    """

    command_id: str
    status: str
    outcome: str | None = None
    event: AuditEvent | None = None


class Commands(BatonClient):
    """A BatonClient that can also publish without waiting, for an actor of its own each time."""

    def __init__(self, settings: Settings, state: State, feed: Feed, *, actor: str) -> None:
        super().__init__(settings, source=SOURCE, actor=actor)
        self._state = state
        self._feed = feed
        self._published: OrderedDict[str, float] = OrderedDict()

    async def submit(  # noqa: PLR0913 - the command, by whom, and how long to wait
        self,
        name: str,
        data: dict[str, Any],
        *,
        command_id: str | None = None,
        actor: str | None = None,
        more: Sequence[tuple[str, bytes]] = (),
        wait_s: float = 0.0,
    ) -> tuple[str, Outcome | None]:
        """Publish the command ``name`` and return its id, and its outcome once it has ended.

        Without an outcome after ``wait_s``, None. A command sent before is not sent again. ``more``
        are further headers. Raises as BatonClient.send does, but for a wait that was too short.
        """
        body = {key: value for key, value in data.items() if value is not None}
        given = command_id is not None
        command_id = command_id or str(uuid.uuid4())
        with self._feed.expected(command_id) as future:
            event = None
            if given:
                known = await self.progress(command_id)
                event = known.event if known else None
                given = known is not None
            if not given:
                await self._submit(self._written(name, body, command_id), command_id, actor, more)
            if event is None and wait_s > 0:
                try:
                    event = await asyncio.wait_for(future, wait_s)
                except TimeoutError:
                    return command_id, None
        if event is None:
            return command_id, None
        if not is_of(event, f"{PREFIX}{name}{SUFFIX}", body):
            raise CommandIdReusedError(event)
        return command_id, judged(event)

    async def progress(self, command_id: str) -> Progress | None:
        """Return how far a command of the console is; None where it knows of none."""
        event = self._feed.outcome(command_id)
        if event is not None:
            return Progress(command_id, "ended", event=event)
        record = (await self._state.current()).command(command_id)
        if record is None:
            return Progress(command_id, "pending") if command_id in self._published else None
        if record.outcome == ACCEPTED:
            return Progress(command_id, "running", record.outcome)
        event = await self._ended(record.space_id, command_id, record.at_ms)
        return Progress(command_id, "ended", record.outcome, event)

    async def _submit(
        self,
        write: Write,
        command_id: str,
        actor: str | None,
        more: Sequence[tuple[str, bytes]],
    ) -> None:
        named = [] if actor is None else [("ce_actor", actor.encode())]
        others = [pair for pair in write.headers if actor is None or pair[0] != "ce_actor"]
        write.headers = [*others, *named, *more]
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._publish(write, command_id)
        except TimeoutError:
            raise OutcomeTimeout(command_id, self._timeout_s) from None
        self._published[command_id] = time.monotonic()
        while len(self._published) > MAX_PUBLISHED:
            self._published.popitem(last=False)

    async def _ended(self, space_id: str | None, command_id: str, at_ms: int) -> AuditEvent | None:
        """Find, in the log from when it was applied on, the event that ended a command."""
        if space_id is None:
            return None
        topic = self._topics.events
        part = TopicPartition(topic.name, partition_for(space_id.encode(), topic.partitions))
        servers = self._settings.bootstrap_servers
        consumer = new_consumer(servers)
        await consumer.start()
        try:
            found = (await consumer.offsets_for_times({part: at_ms - SKEW_MS}))[part]
        finally:
            await consumer.stop()
        if found is None:
            return None
        return await self._outcome(part.partition, command_id, after=found.offset - 1)
