"""The fenced producer: every write is in its transaction, or the call raises and none is."""

import asyncio
import gc

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from schemas.topics import LARGE_BYTES
from tests.support import DEADLINE_S, eventually, read_all
from transport import transactions
from transport.transactions import BATCH_BYTES, FencedProducer, Write, size

pytestmark = pytest.mark.broker

MIB = 1024 * 1024
# A transaction that is left open holds its readers up for longer than any test waits.
OPEN_MS = int(5 * DEADLINE_S * 1000)


def new_producer(settings):
    return FencedProducer(settings.bootstrap_servers, settings.app, timeout_ms=OPEN_MS)


@pytest.fixture
async def producer(settings):
    producer = new_producer(settings)
    await producer.start()
    yield producer
    await producer.stop()


def event(settings, value, key=b"k"):
    return Write(settings.topics.events.name, 0, key, value)


async def values(settings, last=None):
    """What every reader sees up to ``last``."""
    found = []

    async def there():
        found[:] = [record.value for record in await read_all(settings, settings.topics.events)]
        return last is None or found[-1:] == [last]

    await eventually(there, f"{last} is in the log")
    return found


@pytest.mark.parametrize("large", [BATCH_BYTES - 100, BATCH_BYTES + 1, MIB + 1, 5 * MIB])
async def test_a_record_larger_than_a_batch_is_written_among_its_neighbours(
    settings, producer, large
):
    sent = [b"before", b"x" * large, b"", b"y" * large, b"after"]
    await producer.commit([event(settings, value) for value in sent])
    assert await values(settings, b"after") == sent


async def test_a_write_that_the_broker_refuses_takes_the_others_with_it(settings, producer):
    refused = [event(settings, b"a"), event(settings, b"x" * (LARGE_BYTES + 1))]
    with pytest.raises(MessageSizeTooLargeError):
        await producer.commit(refused)
    # Its process ends now, and has a successor.
    successor = new_producer(settings)
    await successor.start()
    await successor.commit([event(settings, b"next")])
    await successor.stop()
    assert await values(settings, b"next") == [b"next"]


async def test_a_write_that_cannot_be_encoded_takes_the_others_with_it(settings, producer):
    # Enough before it that a batch has been sent already.
    wrong = [*[event(settings, b"x" * MIB)] * 3, event(settings, "no bytes")]
    with pytest.raises(TypeError):
        await producer.commit(wrong)
    await producer.commit([event(settings, b"next")])
    assert await values(settings, b"next") == [b"next"]


@pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.01, 0.03])
async def test_a_commit_that_is_cancelled_ends_its_transaction(settings, producer, delay_s):
    sent = [event(settings, b"x" * MIB) for _ in range(5)]
    commit = asyncio.create_task(producer.commit(sent))
    await asyncio.sleep(delay_s)
    if commit.cancel():  # else it was quicker
        with pytest.raises(asyncio.CancelledError):
            await commit
    await producer.commit([event(settings, b"next")])
    assert len(await values(settings, b"next")) in {1, 6}


async def is_refused(settings, producer, successor):
    """The fenced ``producer`` says so and stops, and what it wrote is nowhere."""
    with pytest.raises(ProducerFenced):
        await producer.commit([event(settings, b"late")])
    async with asyncio.timeout(DEADLINE_S):
        await producer.stop()
    await successor.commit([event(settings, b"second")])
    await successor.stop()
    assert await values(settings, b"second") == [b"first", b"second"]


async def test_a_fenced_producer_says_so_and_stops(settings, producer):
    await producer.commit([event(settings, b"first")])
    successor = new_producer(settings)
    await successor.start()
    await is_refused(settings, producer, successor)


async def committed(settings, partition):
    """The offset that the application's group has committed, and its metadata."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        group_id=settings.app,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        found = await consumer._coordinator.fetch_committed_offsets([partition])
    finally:
        await consumer.stop()
    return found[partition]


async def test_a_transaction_begun_ahead_is_the_next_one(settings, producer):
    partition = TopicPartition(settings.topics.requests.name, 0)
    producer.prepare()  # nothing is known yet of where it will write
    for number in range(5):
        value = str(number).encode()
        where = {partition: OffsetAndMetadata(number, f"after {number}")}
        await producer.commit([event(settings, value)], where, settings.app)
        producer.prepare()
        producer.prepare()
        # The group is added before there are offsets, if it is given the time.
        async with asyncio.timeout(DEADLINE_S):
            while number % 2 and producer._manager._txn_consumer_group is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    assert await values(settings, b"4") == [b"0", b"1", b"2", b"3", b"4"]
    assert await committed(settings, partition) == OffsetAndMetadata(4, "after 4")
    # Elsewhere than the last time.
    other = Write(settings.topics.dead_letters.name, 0, b"k", b"other")
    await producer.commit([other])
    assert [r.value for r in await read_all(settings, settings.topics.dead_letters)] == [b"other"]


async def test_a_transaction_begun_ahead_for_nothing_is_given_back(settings, producer, monkeypatch):
    monkeypatch.setattr(transactions, "HOLD_S", 0.05)
    await producer.commit([event(settings, b"first")])
    for _ in range(3):
        producer.prepare()
        await asyncio.sleep(0.1)
        assert producer._held is None
        # It is over: a producer of its own name need not end it.
        await producer.commit([event(settings, b"next")])
    assert len(await values(settings, b"next")) == 4
    # Left open at the end, it is ended then, too.
    producer.prepare()
    async with asyncio.timeout(DEADLINE_S):
        await producer.stop()


async def test_a_producer_that_is_fenced_ahead_of_its_commit_says_so(settings, producer):
    await producer.commit([event(settings, b"first")])
    successor = new_producer(settings)
    await successor.start()
    producer.prepare()
    async with asyncio.timeout(DEADLINE_S):
        while not producer._manager.is_fatal_error():  # noqa: ASYNC110 - aiokafka's own
            await asyncio.sleep(0.001)
    await is_refused(settings, producer, successor)


async def test_a_transaction_begun_ahead_by_a_dead_producer_holds_up_nobody(settings, producer):
    await producer.commit([event(settings, b"first")])
    producer.prepare()
    async with asyncio.timeout(DEADLINE_S):
        while not producer._manager.txn_partitions:  # noqa: ASYNC110 - aiokafka's own
            await asyncio.sleep(0.001)
    # It says nothing more, as if killed. Its partitions are in a transaction, and take records.
    successor = new_producer(settings)
    await successor.start()
    await successor.commit([event(settings, b"second")])
    await successor.stop()
    assert await values(settings, b"second") == [b"first", b"second"]


async def fence(settings, writes, offsets=None, *, ahead=False):
    """Let a producer be fenced while it commits, and give it up as its owner does."""
    producer, successor = (new_producer(settings) for _ in range(2))
    await producer.start()
    if ahead:
        await producer.commit(writes)
    await successor.start()
    if ahead:
        producer.prepare()
    with pytest.raises(ProducerFenced):
        await producer.commit(writes, offsets, settings.app)
    await producer.stop()
    await successor.stop()


async def test_a_fenced_producer_leaves_no_error_that_nobody_has_heard_of(settings):
    topics = settings.topics
    records = [Write(topics.events.name, n % 2, b"k", b"x" * MIB) for n in range(8)]
    told = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        await fence(settings, [event(settings, b"late")])
        await fence(settings, records)
        requests = TopicPartition(topics.requests.name, 0)
        await fence(settings, records, {requests: OffsetAndMetadata(1, "")})
        await fence(settings, records, ahead=True)
        # An error that was never retrieved is told when its future is freed.
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert told == []


def test_a_size_is_no_less_than_what_is_written():
    from aiokafka.producer.message_accumulator import BatchBuilder

    for headers in ((), [("ce_id", b"x" * 300), ("é" * 200, b"")]):
        for value in (None, b"", b"x" * 100_000):
            write = Write("t", 0, b"key", value, headers)
            batch = BatchBuilder(10 * MIB, 0, is_transactional=1)
            batch.append(timestamp=None, key=b"key", value=value, headers=list(headers))
            assert len(batch._build()) <= size(write) < len(batch._build()) + 200
