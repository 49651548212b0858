"""The fenced producer: everything a batch gives rise to, in one Kafka transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder

# Below the broker's limit for a record batch (message.max.bytes, 1 MiB by default).
BATCH_BYTES = 900_000
# Between two transactions the broker answers CONCURRENT_TRANSACTIONS for a moment: the default
# back-off of 100 ms would be most of the latency.
RETRY_BACKOFF_MS = 5
# The broker ends a dead process's transaction after this long, and scoring waits for it meanwhile.
TRANSACTION_TIMEOUT_MS = 10_000

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

    async def start(self) -> None:
        """Fence earlier producers of this id and end their open transaction (InitProducerId)."""
        await self._producer.start()

    async def stop(self) -> None:
        """Close the connections. Never call it while ``commit`` runs: that would wait for ever."""
        await self._producer.stop()

    async def commit(
        self,
        writes: Sequence[Write],
        offsets: Mapping[TopicPartition, int] | None = None,
        group: str | None = None,
    ) -> None:
        """Append all ``writes`` and commit ``offsets`` of ``group`` in one transaction.

        Raises ProducerFenced where another producer has taken over, TimeoutError where the outcome
        is unknown: in both cases the caller must end and let the log say what happened. After any
        other KafkaError the transaction was aborted and nothing happened.
        """
        async with asyncio.timeout(self._deadline_s):
            await self._producer.begin_transaction()
            try:
                delivered = await self._append(writes)
                if offsets:
                    await self._producer.send_offsets_to_transaction(dict(offsets), group)
                await asyncio.gather(*delivered)
                await self._producer.commit_transaction()
            except ProducerFenced:
                raise
            except KafkaError:
                await self._producer.abort_transaction()
                raise

    async def _append(self, writes: Sequence[Write]) -> list[asyncio.Future[object]]:
        open_batches: dict[tuple[str, int], BatchBuilder] = {}
        delivered: list[asyncio.Future[object]] = []
        for write in writes:
            where = (write.topic, write.partition)
            batch = open_batches.get(where)
            if batch is None or not _add(batch, write):
                if batch is not None:
                    delivered.append(await self._send(where, batch))
                batch = open_batches[where] = self._producer.create_batch()
                _add(batch, write)
        for where, batch in open_batches.items():
            delivered.append(await self._send(where, batch))
        return delivered

    async def _send(self, where: tuple[str, int], batch: BatchBuilder) -> "asyncio.Future[object]":
        topic, partition = where
        future: asyncio.Future[object] = await self._producer.send_batch(
            batch, topic, partition=partition
        )
        return future


def _add(batch: BatchBuilder, write: Write) -> bool:
    return (
        batch.append(
            timestamp=write.timestamp_ms, key=write.key, value=write.value, headers=write.headers
        )
        is not None
    )
