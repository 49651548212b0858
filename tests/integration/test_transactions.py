"""The fenced producer: every write is in its transaction, or the call raises and none is."""

import asyncio
import time

import pytest
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced

from schemas.topics import LARGE_BYTES
from tests.support import eventually, new_settings, read_all
from transport.admin import ensure_topics
from transport.transactions import BATCH_BYTES, FencedProducer, Write, size

pytestmark = pytest.mark.broker

MIB = 1024 * 1024


@pytest.fixture
async def settings(bootstrap_servers, tmp_path):
    settings = new_settings(bootstrap_servers, tmp_path)
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    return settings


@pytest.fixture
async def producer(settings):
    producer = FencedProducer(settings.bootstrap_servers, settings.app)
    await producer.start()
    yield producer
    await producer.stop()


def event(settings, value, key=b"k"):
    return Write(settings.topics.events.name, 0, key, value)


async def values(settings, last=None):
    """What every reader sees up to ``last``, and soon: an open transaction is one for 10 s."""
    found = []
    begun = time.monotonic()

    async def there():
        found[:] = [record.value for record in await read_all(settings, settings.topics.events)]
        return last is None or found[-1:] == [last]

    await eventually(there, f"{last} is in the log")
    assert time.monotonic() - begun < 5
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
    successor = FencedProducer(settings.bootstrap_servers, settings.app)
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


async def test_a_fenced_producer_says_so_and_stops(settings, producer):
    await producer.commit([event(settings, b"first")])
    successor = FencedProducer(settings.bootstrap_servers, settings.app)
    await successor.start()
    with pytest.raises(ProducerFenced):
        await producer.commit([event(settings, b"late")])
    async with asyncio.timeout(5):
        await producer.stop()
    await successor.commit([event(settings, b"second")])
    await successor.stop()
    assert await values(settings, b"second") == [b"first", b"second"]


def test_a_size_is_no_less_than_what_is_written():
    from aiokafka.producer.message_accumulator import BatchBuilder

    for headers in ((), [("ce_id", b"x" * 300), ("é" * 200, b"")]):
        for value in (None, b"", b"x" * 100_000):
            write = Write("t", 0, b"key", value, headers)
            batch = BatchBuilder(10 * MIB, 0, is_transactional=1)
            batch.append(timestamp=None, key=b"key", value=value, headers=list(headers))
            assert len(batch._build()) <= size(write) < len(batch._build()) + 200
