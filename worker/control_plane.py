"""The control plane of one process: an owner for each commands partition it is assigned."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition

from transport.consumer import Consumer
from transport.ends import Ends
from worker.inbox import CommandMessage
from worker.owner import Duties, PartitionOwner

log = logging.getLogger(__name__)

# Commands read at once from a backlog: bounds memory and the length of a transaction.
BACKLOG_BATCH = 500
POLL_MS = 100


@dataclass(frozen=True, slots=True)
class _Ownership:
    owner: PartitionOwner
    built: asyncio.Task[None]


class ControlPlane:
    """Builds owners at assignment, drops them at revocation, and hands each its commands."""

    def __init__(self, duties: Duties) -> None:
        self._duties = duties
        self._owned: dict[int, _Ownership] = {}

    def assign(self, partitions: Iterable[int]) -> None:
        """Start owning ``partitions``; their pending updates go on at once."""
        for partition in partitions:
            if partition not in self._owned:
                owner = PartitionOwner(self._duties, partition)
                self._owned[partition] = _Ownership(owner, asyncio.create_task(self._build(owner)))

    async def revoke(self, partitions: Iterable[int]) -> None:
        """Stop owning ``partitions``, once their running transactions have ended."""
        dropped = [self._owned.pop(partition, None) for partition in list(partitions)]
        await asyncio.gather(*(_end(ownership) for ownership in dropped if ownership is not None))

    async def close(self) -> None:
        """Stop owning everything."""
        await self.revoke(self._owned)

    def owners(self) -> list[PartitionOwner]:
        """Return the owners of the partitions assigned, standing already or not."""
        return [held.owner for held in self._owned.values()]

    async def ready(self) -> None:
        """Wait until an owner stands for every assigned partition, whatever waits there for it."""
        await asyncio.gather(*(owner.stands.wait() for owner in self.owners()))

    async def apply(self, messages: Sequence[CommandMessage]) -> None:
        """Apply a batch of commands of any partitions, each partition's part in one transaction.

        What this process does not own (any more, or yet) is left to the partition's owner, which
        starts from its own cursor.
        """
        by_partition: dict[int, list[CommandMessage]] = {}
        for message in messages:
            by_partition.setdefault(message.partition, []).append(message)
        await asyncio.gather(
            *(self._apply(partition, batch) for partition, batch in by_partition.items())
        )

    async def _apply(self, partition: int, batch: list[CommandMessage]) -> None:
        held = self._owned.get(partition)
        if held is None:
            return
        await asyncio.shield(held.built)
        if any(message.unread for message in batch):
            await self._work_off(held.owner)
        else:
            await held.owner.apply(batch)

    async def _build(self, owner: PartitionOwner) -> None:
        try:
            await owner.start()
            await self._work_off(owner)
        except Exception as error:
            self._duties.on_failure(error)
            raise

    async def _work_off(self, owner: PartitionOwner) -> None:
        """Apply what the log holds behind the owner's cursor.

        Faust's committed offsets are only a hint: they run ahead when a rebalance cancels a batch
        that it then acknowledges. So the log between the cursor and its end is read here, and what
        Faust delivers of it again is skipped. Large commands are read nowhere else: a fetch of them
        has a megabyte at most, or one command.
        """
        settings = self._duties.settings
        where = TopicPartition(settings.topics.commands.name, owner.partition)
        consumer = Consumer(
            bootstrap_servers=settings.bootstrap_servers,
            isolation_level="read_committed",
            enable_auto_commit=False,
            # What retention has already removed cannot be asked for.
            auto_offset_reset="earliest",
            max_poll_records=BACKLOG_BATCH,
        )
        await consumer.start()
        try:
            consumer.assign([where])
            end = (await Ends(consumer, [where]).now())[where]
            if owner.offset + 1 >= end:
                return
            consumer.seek(where, owner.offset + 1)
            while not owner.closed and await consumer.position(where) < end:
                for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                    await owner.apply(
                        [
                            CommandMessage(
                                r.partition, r.offset, r.timestamp, r.key, r.value, r.headers
                            )
                            for r in records
                        ]
                    )
        finally:
            await consumer.stop()


async def _end(held: _Ownership) -> None:
    held.owner.abandon()
    await asyncio.wait([held.built])
    await held.owner.close()
