"""A view of the state table: follows the compacted topic, and knows when it is current."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence

from aiokafka import TopicPartition

from schemas.errors import TopicError
from schemas.manifests import Manifests, Pieces
from schemas.records import CURSOR_KEY, DeploymentRecord, record_key
from schemas.topics import Topic
from transport.consumer import Consumer
from transport.ends import Ends
from transport.watch import RECOVER

# How often a waiter looks at the positions. Transaction markers move them without giving records,
# so there is nothing to be woken by.
POLL_S = 0.001
POLL_TIMEOUT_MS = 1000
CATCH_UP_TIMEOUT_S = 30.0
# A start reads the whole table: some hundred megabytes of 100,000 deployments.
FETCH_BYTES = 4 * 1024**2

OnChange = Callable[[str, bytes | None], None]


class StateView:
    """The newest record under each key of the state topic, of all its partitions or of some.

    Group-less and read_committed. ``kinds`` names the kinds of records that are kept (None: all);
    ``on_change`` hears of every one. ``cursors`` holds the cursor record of each partition.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: Topic,
        partitions: Sequence[int] | None = None,
        *,
        kinds: Collection[str] | None = None,
        on_change: OnChange | None = None,
    ) -> None:
        numbers = range(topic.partitions) if partitions is None else partitions
        self._assignment = [TopicPartition(topic.name, number) for number in numbers]
        self._kinds = kinds
        self._on_change = on_change
        # By partition: two spaces of two partitions may each have an asset of the same ID.
        self._values: dict[int, dict[str, bytes | Pieces]] = {number: {} for number in numbers}
        self._manifests = Manifests()
        self._deployments: dict[str, DeploymentRecord] = {}
        self.cursors: dict[int, bytes] = {}
        # The consumer starts again at 0 by itself where the table has become shorter.
        self._read = dict.fromkeys(self._assignment, 0)
        self._follower: asyncio.Task[None] | None = None
        self._consumer = Consumer(
            bootstrap_servers=bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=FETCH_BYTES,
            # Commands' transactions end every few milliseconds: a retry must not cost 100 ms.
            retry_backoff_ms=5,
        )
        # end_offsets of a consumer that also fetches waits behind its long poll (measured: 500 ms).
        # Left at read_uncommitted: it must see the high watermark, not the last stable offset.
        self._fence = Consumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
        self._ends = Ends(self._fence, self._assignment, self._consumer)

    async def start(self) -> None:
        """Read the table to its present end, then follow it."""
        await self._consumer.start()
        await self._fence.start()
        self._consumer.assign(self._assignment)
        await self._consumer.seek_to_beginning(*self._assignment)
        self._follower = asyncio.create_task(self._follow())
        read = -1
        while True:
            try:
                return await self.catch_up()
            except TimeoutError:
                # A large table takes its time: what matters is that it goes on.
                before, read = read, await self._sum_read()
                if read == before:
                    raise

    async def stop(self) -> None:
        """Stop following."""
        if self._follower is not None:
            self._follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._follower
        await self._consumer.stop()
        await self._fence.stop()

    async def catch_up(self, timeout_s: float = CATCH_UP_TIMEOUT_S) -> None:
        """Wait until the view holds all that was in the table when this was called.

        The high-watermark fence: what a client saw in an event before this call is in the view
        after it. Raises TimeoutError, TopicError where the table ends before what was read of it,
        and whatever ended the follower.
        """
        async with asyncio.timeout(timeout_s):
            # Before the ends are asked for: what was read by then lies below them.
            for part in self._assignment:
                self._read[part] = max(self._read[part], await self._consumer.position(part))
            read = dict(self._read)
            ends = await self._ends.now()
            for partition, end in ends.items():
                if end < read[partition]:
                    raise TopicError(
                        f"topic {partition.topic} partition {partition.partition} ends at offset "
                        f"{end}, and was read to {read[partition]} before: it was deleted and "
                        f"created anew, or lost its end. {RECOVER}"
                    )
                while await self._consumer.position(partition) < end:
                    self._raise_if_ended()
                    await asyncio.sleep(POLL_S)
        self._raise_if_ended()

    async def _sum_read(self) -> int:
        return sum([await self._consumer.position(part) for part in self._assignment])

    def get(self, key: str) -> bytes | None:
        """Return the record under ``key``, or None; for keys that only one partition can hold."""
        value = self._held(key)
        return value.whole() if isinstance(value, Pieces) else value

    def _held(self, key: str) -> bytes | Pieces | None:
        return next((found[key] for found in self._values.values() if key in found), None)

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over a copy of all keys and records but the cursors."""
        items = [item for found in self._values.values() for item in found.items()]
        for key, value in items:
            yield key, value.whole() if isinstance(value, Pieces) else value

    def deployment(self, deployment_id: str) -> DeploymentRecord | None:
        """Return the deployment's record, or None. Decoded once for each change."""
        key = record_key("deployment", deployment_id)
        record = self._deployments.get(key)
        if record is None and (value := self._held(key)) is not None:
            found = self._manifests.decode(key, value)
            assert isinstance(found, DeploymentRecord)  # noqa: S101 - its key says so
            record = self._deployments[key] = found
        return record

    async def _follow(self) -> None:
        while True:
            batches = await self._consumer.getmany(timeout_ms=POLL_TIMEOUT_MS)
            # No await from here to the end: the position already counts these records as read.
            for partition, records in batches.items():
                for record in records:
                    self._apply(partition.partition, record.key.decode(), record.value)

    def _apply(self, partition: int, key: str, value: bytes | None) -> None:
        if key == CURSOR_KEY:
            if value is not None:
                self.cursors[partition] = value
            return
        if self._kinds is None or key.partition("/")[0] in self._kinds:
            self._deployments.pop(key, None)
            if value is None:
                self._values[partition].pop(key, None)
            else:
                self._values[partition][key] = self._manifests.shared(key, value)
        if self._on_change is not None:
            self._on_change(key, value)

    def _raise_if_ended(self) -> None:
        if self._follower is not None and self._follower.done():
            self._follower.result()
            raise RuntimeError("the state view was stopped")
