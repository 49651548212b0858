"""The fenced producer: everything a batch gives rise to, in one Kafka transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, ProducerFenced
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata

from transport.connecting import known
from transport.futures import retrieve

# Below the broker's limit for a record batch (message.max.bytes, 1 MiB by default).
BATCH_BYTES = 900_000
# Between two transactions the broker answers CONCURRENT_TRANSACTIONS for a moment: the default
# back-off of 100 ms would be most of the latency, and so would aiokafka's 20 ms for just this.
RETRY_BACKOFF_MS = 5
sender.BACKOFF_OVERRIDE = 0.003
# Without transactions: what a crash makes answered twice at most, against a round trip each batch.
OFFSETS_EVERY_S = 0.1
# A transaction that was begun ahead and is not needed is given back, long before its time is over.
HOLD_S = 2.0
# The broker ends a dead process's transaction after this long, and scoring waits for it meanwhile.
TRANSACTION_TIMEOUT_MS = 10_000
# It forgets an id without a transaction for a week (transactional.id.expiration.ms), and refuses
# the next one: whoever holds an id commits something that often.
REFRESH_S = 3600.0

# What the format adds at most: lengths of five bytes each, offset and time of a record, and the
# header of a batch that holds it alone (61 bytes).
_HEADER_BYTES = 10
_RECORD_BYTES = 100

HeaderPairs = Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class Write:
    """One record to append; ``value`` None is a tombstone. ``timestamp_ms`` None means now."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: HeaderPairs = ()
    timestamp_ms: int | None = None


def size(write: Write) -> int:
    """Return the bytes of ``write`` in a record batch, rounded up."""
    found = len(write.key or b"") + len(write.value or b"") + _RECORD_BYTES
    for name, value in write.headers:
        found += len(name.encode()) + len(value or b"") + _HEADER_BYTES
    return found


class FencedProducer:
    """A transactional producer that fences every earlier one of the same transactional id."""

    def __init__(
        self,
        bootstrap_servers: str,
        transactional_id: str,
        *,
        timeout_ms: int = TRANSACTION_TIMEOUT_MS,
    ) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            transactional_id=transactional_id,
            transaction_timeout_ms=timeout_ms,
            max_batch_size=BATCH_BYTES,
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )
        # Past it the broker may have ended the transaction: the outcome is unknown, the log knows.
        self._deadline_s = timeout_ms / 1000
        self._manager = self._producer._txn_manager  # noqa: SLF001 - it has no other name
        # What the last transaction wrote to, and the group that it committed offsets of.
        self._partitions: set[TopicPartition] = set()
        self._group: str | None = None
        # A transaction that was begun ahead: when it is given back, and that it is being.
        self._held: asyncio.TimerHandle | None = None
        self._giving_back: asyncio.Task[None] | None = None
        self._group_to_add = self._manager.consumer_group_to_add
        self._manager.consumer_group_to_add = self._group_ahead

    async def start(self) -> None:
        """Fence earlier producers of this id and end their open transaction (InitProducerId)."""
        # The first thing that a transactional producer asks is asked of a broker it knows.
        await self._producer.client.bootstrap()
        await known(self._producer.client)
        await self._producer.start()

    async def stop(self) -> None:
        """Close the connections. Never call it while ``commit`` runs: that would wait for ever."""
        self._give_back()
        if self._giving_back is not None:
            await asyncio.wait([self._giving_back], timeout=self._deadline_s)
        await self._producer.stop()
        _forget(self._producer)

    def prepare(self) -> None:
        """Begin the next transaction while what it takes is still being made.

        It is taken to write where the last one did, so ``commit`` finds the partitions and the
        group added: of five round trips one after the other two are left to wait for.
        """
        if self._partitions and self._held is None and self._giving_back is None:
            self._manager.begin_transaction()
            for partition in self._partitions:
                self._manager.maybe_add_partition_to_txn(partition)
            self._held = asyncio.get_running_loop().call_later(HOLD_S, self._give_back)

    def _group_ahead(self) -> str | None:
        """Return the group to add now: as aiokafka does, but before there are offsets."""
        found: str | None = self._group_to_add()
        manager = self._manager
        if found is None and manager.is_in_transaction() and manager._txn_consumer_group is None:  # noqa: SLF001
            return self._group
        return found

    def _give_back(self) -> None:
        """End the transaction that was begun ahead, before it passes for a dead one's."""
        if self._held is not None:
            self._held.cancel()
            self._held = None
            self._giving_back = asyncio.create_task(self._producer.abort_transaction())
            # Whoever needs the next transaction hears of it.
            self._giving_back.add_done_callback(retrieve)

    async def _begin(self) -> None:
        """Begin a transaction, or take the one that was begun ahead."""
        if self._giving_back is not None:
            await self._giving_back
            self._giving_back = None
        if self._held is not None:
            self._held.cancel()
            self._held = None
        else:
            await self._producer.begin_transaction()

    def _cause(self, error: Exception) -> BaseException:
        """Return why the transaction failed, where ``error`` may only say that there is none."""
        end = self._manager.wait_for_transaction_end()
        failed = end is not None and end.done() and not end.cancelled()
        found: BaseException = (end.exception() if failed else None) or error
        # What ended its sender stands behind "unexpected error during batch delivery".
        return found.__cause__ if isinstance(found.__cause__, KafkaError) else found

    async def commit(
        self,
        writes: Sequence[Write],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        group: str | None = None,
    ) -> None:
        """Append all ``writes`` and commit ``offsets`` of ``group`` in one transaction.

        Raises ProducerFenced where another producer has taken over, TimeoutError where the outcome
        is unknown: in both cases the caller must end and let the log say what happened. After any
        other error the transaction was aborted and nothing happened; a producer whose records were
        refused is of no use any more (aiokafka counts them all the same). Who is cancelled here
        waits until the transaction has ended, at most ``timeout_ms``; the log knows how.
        """
        transaction = asyncio.ensure_future(self._transaction(writes, offsets, group))
        try:
            await asyncio.shield(transaction)
        except asyncio.CancelledError:
            # Left open, it would hold up every reader until the broker ends it.
            await asyncio.wait([transaction])
            retrieve(transaction)
            raise

    async def _transaction(
        self,
        writes: Sequence[Write],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None,
        group: str | None,
    ) -> None:
        async with asyncio.timeout(self._deadline_s):
            await self._begin()
            try:
                delivered = await append(self._producer, writes)
                if offsets:
                    await self._producer.send_offsets_to_transaction(dict(offsets), group)
                await asyncio.gather(*delivered)
                await self._producer.commit_transaction()
            except Exception as error:  # noqa: BLE001 - raised again, or what caused it
                cause = self._cause(error)
                # Nothing is left that could be aborted.
                if isinstance(cause, ProducerFenced) or self._manager.is_fatal_error():
                    raise cause from None
                await self._producer.abort_transaction()
                raise cause from None
        self._partitions = {TopicPartition(write.topic, write.partition) for write in writes}
        self._group = group if offsets else None


async def append(
    producer: AIOKafkaProducer, writes: Sequence[Write]
) -> list["asyncio.Future[object]"]:
    """Hand ``writes`` to ``producer`` in record batches; the futures end when they are stored.

    A batch at a time instead of a record at a time: two to three times as fast (measured).
    """
    open_batches: dict[tuple[str, int], BatchBuilder] = {}
    delivered: list[asyncio.Future[object]] = []
    for write in writes:
        where = (write.topic, write.partition)
        batch = open_batches.get(where)
        if batch is None or not _add(batch, write):
            if batch is not None:
                delivered.append(await _sent(producer, batch, where))
            batch = open_batches[where] = producer.create_batch()
            # An empty batch takes a record of any size, and the broker judges it.
            if not _add(batch, write):
                raise ValueError(f"no batch takes a record of {size(write)} bytes for {where}")
    for where, batch in open_batches.items():
        delivered.append(await _sent(producer, batch, where))
    return delivered


async def _sent(
    producer: AIOKafkaProducer, batch: BatchBuilder, where: tuple[str, int]
) -> "asyncio.Future[object]":
    topic, partition = where
    stored: asyncio.Future[object] = await producer.send_batch(batch, topic, partition=partition)
    # Who does not come to await it has another error to tell.
    stored.add_done_callback(retrieve)
    return stored


def _forget(producer: AIOKafkaProducer) -> None:
    """Retrieve the errors that aiokafka keeps for waiters of its own: nobody waits any more.

    What they say has been raised to the caller; asyncio would log each again, with a traceback.
    """
    queues = producer._message_accumulator._batches.values()  # noqa: SLF001 - no public way
    waiters = [batch._drain_waiter for queue in queues for batch in queue]  # noqa: SLF001
    if (transaction := producer._txn_manager._transaction_waiter) is not None:  # noqa: SLF001
        waiters.append(transaction)
    for waiter in waiters:
        if waiter.done():
            retrieve(waiter)


def _add(batch: BatchBuilder, write: Write) -> bool:
    return (
        batch.append(
            timestamp=write.timestamp_ms,
            key=write.key,
            value=write.value,
            headers=list(write.headers),
        )
        is not None
    )


class PlainProducer:
    """The same face without transactions: records first, each awaited, then now and then offsets.

    What dies in between is done again, so an answer may come twice, and none is lost.
    """

    def __init__(self, bootstrap_servers: str, consumer: AIOKafkaConsumer) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            retry_backoff_ms=RETRY_BACKOFF_MS,
        )
        self._consumer = consumer
        # Offsets that are not committed yet, and the task that does it.
        self._due: dict[TopicPartition, OffsetAndMetadata] = {}
        self._committing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect."""
        await self._producer.start()

    async def stop(self) -> None:
        """Commit the last offsets, and close the connections."""
        if self._committing is not None:
            # Where the partition has gone to another member, that one does the rest again.
            await asyncio.wait([self._committing])
            retrieve(self._committing)
        await self._producer.stop()

    def prepare(self) -> None:
        """Do nothing: there is no transaction."""

    async def commit(
        self,
        writes: Sequence[Write],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        group: str | None = None,
    ) -> None:
        """Append all ``writes``; ``offsets`` of the consumer's own group follow soon.

        Raises ProducerFenced where the partition has gone to another member of the group.
        """
        del group
        await asyncio.gather(*await append(self._producer, writes))
        self._due.update(offsets or {})
        if self._committing is not None and self._committing.done():
            self._committing.result()
            self._committing = None
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_offsets())

    async def _commit_offsets(self) -> None:
        while self._due:
            due, self._due = self._due, {}
            try:
                await self._consumer.commit(due)
            except (CommitFailedError, IllegalStateError) as error:
                raise ProducerFenced(f"the partition was taken over: {error}") from error
            await asyncio.sleep(OFFSETS_EVERY_S)
