"""Commands: publish one, await what became of it."""

import asyncio
import getpass
import os
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, suppress
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer, TopicPartition

from client.audit import AuditEvent, read_event
from client.errors import CommandIdReusedError, CommandTooLargeError, OutcomeTimeout
from client.outcome import Outcome, is_of, judged
from client.revisions import Revisions
from client.state import StateReader
from client.tail import Tail
from schemas.cloudevents import CloudEvent, encode
from schemas.commands import PREFIX, SUFFIX
from schemas.events import FINAL, EventName
from schemas.manifest import Manifest
from schemas.times import rfc3339
from schemas.topics import COMMAND_BYTES, partition_for
from telemetry.tracing import current
from transport.admin import ensure_topics, wait_for_broker
from transport.reading import read
from transport.settings import Settings
from transport.transactions import Write, size

# A broker that was killed needs so long to come back on a busy machine.
BROKER_TIMEOUT_S = 30.0
OUTCOME_TIMEOUT_S = 120.0
IN_FLIGHT = 1000

OnProgress = Callable[[AuditEvent], None]


class BatonClient(StateReader):
    """Publishes commands and awaits their outcomes; reads the deployment state table.

    An ``async with`` block opens it. ``source`` names the program, ``actor`` the person who asks
    (by default user@host). Every command may be given a ``command_id``: sent twice, it is applied
    once. Every command raises CommandRejected where it is refused, UpdateFailed where a candidate
    fails its verification, OutcomeTimeout where no outcome comes within ``timeout_s``,
    CommandTooLargeError where the broker takes none so large, and CommandIdReusedError where
    ``command_id`` is another command's.

    A command without an outcome after ``timeout_s`` is sent again, with the same id, up to
    ``retries`` times: it is applied once all the same. ``max_in_flight`` bounds how many are under
    way; who sends more waits for a turn, before the time-out begins. ``revisions`` has what its
    outcomes told: give it to a ScoringClient to read your writes.

    >>> from client import BatonClient, ScoringClient
    >>> async with BatonClient(settings, source="/pipelines/nightly") as baton:
    ...     outcome = await baton.replace_asset(
    ...         "fraud", deployment, "fraud-8", expected_revision=1, reason="accuracy"
    ...     )
    ...     async with ScoringClient(settings, revisions=baton.revisions) as scoring:
    ...         answer = await scoring.score(deployment, [[1.2, 0.3]])
    >>> outcome.name, outcome.revision, answer.asset_id
    ('deployment-updated', 2, 'fraud-8')
    """

    def __init__(  # noqa: PLR0913 - each with a default
        self,
        settings: Settings | None = None,
        *,
        source: str = "/baton/client",
        actor: str | None = None,
        timeout_s: float = OUTCOME_TIMEOUT_S,
        retries: int = 0,
        max_in_flight: int = IN_FLIGHT,
        on_progress: OnProgress | None = None,
    ) -> None:
        super().__init__(settings or Settings.from_env(os.environ))
        self._topics = self._settings.topics
        self._source = source
        self._actor = actor or whoami()
        self._timeout_s = timeout_s
        self._retries = retries
        self.revisions = Revisions()
        self._slots = asyncio.Semaphore(max_in_flight)
        self._on_progress = on_progress
        self._tail: Tail[AuditEvent] = Tail(self._settings, self._topics.events, self._take)

    async def __aenter__(self) -> Self:
        servers = self._settings.bootstrap_servers
        await wait_for_broker(servers, min(BROKER_TIMEOUT_S, self._timeout_s))
        await ensure_topics(servers, self._topics)
        self._producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True)
        async with AsyncExitStack() as opening:
            opening.push_async_callback(self.close_view)
            opening.push_async_callback(self._producer.stop)
            await self._producer.start()
            opening.push_async_callback(self._tail.stop)
            await self._tail.start()
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def create_space(
        self,
        space_id: str,
        name: str | None = None,
        description: str | None = None,
        *,
        command_id: str | None = None,
    ) -> Outcome:
        """Create a deployment space."""
        data = {"space_id": space_id, "name": name or space_id, "description": description}
        return await self.send("create-space", data, command_id)

    async def promote_asset(
        self,
        space_id: str,
        manifest: Manifest,
        asset_id: str | None = None,
        *,
        command_id: str | None = None,
    ) -> Outcome:
        """Copy a model's manifest into a space; the outcome has the asset's ID."""
        written = manifest.model_dump(mode="json", exclude_none=True)
        data = {"space_id": space_id, "asset_id": asset_id, "manifest": written}
        return await self.send("promote-asset", data, command_id)

    async def create_deployment(
        self,
        space_id: str,
        asset_id: str,
        name: str,
        description: str | None = None,
        *,
        command_id: str | None = None,
    ) -> Outcome:
        """Deploy an asset; the outcome has the deployment's ID, which never changes."""
        data = {
            "space_id": space_id,
            "asset_id": asset_id,
            "name": name,
            "description": description,
        }
        return await self.send("create-deployment", data, command_id)

    async def replace_asset(  # noqa: PLR0913 - the command's own fields
        self,
        space_id: str,
        deployment_id: str,
        asset_id: str,
        *,
        expected_revision: int | None = None,
        reason: str | None = None,
        comment: str | None = None,
        compatibility: str = "exact",
        allow_output_change: bool = False,
        dry_run: bool = False,
        command_id: str | None = None,
    ) -> Outcome:
        """Point a deployment to another asset. A dry run reports the checks and changes nothing."""
        data = {
            "space_id": space_id,
            "deployment_id": deployment_id,
            "asset_id": asset_id,
            "expected_revision": expected_revision,
            "reason": reason,
            "comment": comment,
            "compatibility": compatibility,
            "allow_output_change": allow_output_change,
            "dry_run": dry_run,
        }
        return await self.send("replace-asset", data, command_id)

    async def rollback_deployment(  # noqa: PLR0913 - the command's own fields
        self,
        space_id: str,
        deployment_id: str,
        *,
        to_revision: int | None = None,
        expected_revision: int | None = None,
        reason: str | None = None,
        comment: str | None = None,
        command_id: str | None = None,
    ) -> Outcome:
        """Go back to the asset of an earlier revision; without one, of the previous."""
        data = {
            "space_id": space_id,
            "deployment_id": deployment_id,
            "to_revision": to_revision,
            "expected_revision": expected_revision,
            "reason": reason,
            "comment": comment,
        }
        return await self.send("rollback-deployment", data, command_id)

    async def delete_deployment(
        self,
        space_id: str,
        deployment_id: str,
        *,
        expected_revision: int | None = None,
        command_id: str | None = None,
    ) -> Outcome:
        """End a deployment for good."""
        data = {
            "space_id": space_id,
            "deployment_id": deployment_id,
            "expected_revision": expected_revision,
        }
        return await self.send("delete-deployment", data, command_id)

    async def delete_asset(
        self, space_id: str, asset_id: str, *, command_id: str | None = None
    ) -> Outcome:
        """Remove an asset that no deployment uses or awaits."""
        data = {"space_id": space_id, "asset_id": asset_id}
        return await self.send("delete-asset", data, command_id)

    async def send(self, name: str, data: dict[str, Any], command_id: str | None = None) -> Outcome:
        """Publish the command ``name`` with ``data`` (None: left out) and await its outcome."""
        given = command_id is not None
        command_id = command_id or str(uuid.uuid4())
        body = {key: value for key, value in data.items() if value is not None}
        write = self._written(name, body, command_id)
        async with self._slots:
            event = await self._tried(write, command_id, given=given)
        if given and not is_of(event, f"{PREFIX}{name}{SUFFIX}", body):
            raise CommandIdReusedError(event)
        self.revisions.see(event)
        return judged(event)

    async def _tried(self, write: Write, command_id: str, *, given: bool) -> AuditEvent:
        # A command sent before has its outcome in the log, and gets no other.
        look = given
        for _ in range(self._retries):
            with suppress(OutcomeTimeout):
                return await self._once(write, command_id, look=look)
            look = True
        return await self._once(write, command_id, look=look)

    async def _once(self, write: Write, command_id: str, *, look: bool) -> AuditEvent:
        try:
            with self._tail.expected(command_id) as waiting:
                async with asyncio.timeout(self._timeout_s):
                    await self._publish(write, command_id)
                    event = await self._outcome(write.partition, command_id) if look else None
                    return event or await waiting
        except TimeoutError:
            raise OutcomeTimeout(command_id, self._timeout_s) from None

    def _written(self, name: str, body: dict[str, Any], command_id: str) -> Write:
        headers, value = encode(
            CloudEvent(
                {
                    "specversion": "1.0",
                    "id": command_id,
                    "source": self._source,
                    "type": f"{PREFIX}{name}{SUFFIX}",
                    "time": rfc3339(time.time_ns() // 1_000_000),
                    "actor": self._actor,
                },
                body,
                current(),
            )
        )
        topic = self._topics.commands
        key = str(body["space_id"]).encode()
        return Write(topic.name, partition_for(key, topic.partitions), key, value, headers)

    async def _publish(self, write: Write, command_id: str) -> None:
        # Not left to the broker: after a record that it refused an idempotent producer of aiokafka
        # is out of step, and can send nothing any more.
        if size(write) > COMMAND_BYTES:
            raise CommandTooLargeError(command_id, size(write), COMMAND_BYTES, write.topic)
        await self._producer.send_and_wait(
            write.topic,
            write.value,
            key=write.key,
            partition=write.partition,
            headers=write.headers,
        )

    def _take(self, record: Any) -> None:  # noqa: ANN401 - aiokafka's record
        event = read_event(record)
        waiting = self._tail.waiting.get(event.command_id)
        if waiting is None or event.attributes.get("causationsource") != self._source:
            return
        if event.name == EventName.UPDATE_STARTED:
            if self._on_progress is not None:
                self._on_progress(event)
        elif event.name in FINAL and not waiting.done():
            waiting.set_result(event)

    async def _outcome(
        self, partition: int, command_id: str, *, after: int = -1
    ) -> AuditEvent | None:
        """Look in the log, behind the offset ``after``, for how a command sent before ended."""
        where = [TopicPartition(self._topics.events.name, partition)]
        async with aclosing(read(self._settings.bootstrap_servers, where, after=after)) as records:
            async for record in records:
                event = read_event(record)
                same = event.attributes.get("causationsource") == self._source
                if event.command_id == command_id and same and event.name in FINAL:
                    return event
        return None


def whoami() -> str:
    """Return user@host: who asks, where nobody else is named."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
