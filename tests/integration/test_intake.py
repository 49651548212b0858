"""Requests are read while others are being answered, and no more than a batch of them."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import ConsumerStoppedError

from scoring.intake import Intake
from tests.support import DEADLINE_S, eventually
from transport.reading import new_consumer

pytestmark = pytest.mark.broker

MAX_BATCH = 4


@pytest.fixture
async def where(settings):
    return [TopicPartition(settings.topics.requests.name, number) for number in range(2)]


@pytest.fixture
async def consumer(bootstrap_servers, where):
    found = new_consumer(bootstrap_servers)
    await found.start()
    found.assign(where)
    await found.seek_to_beginning(*where)
    yield found
    await found.stop()


@pytest.fixture
async def intakes(consumer, where):
    found = [Intake(consumer, partition, MAX_BATCH) for partition in where]
    for intake in found:
        intake.start()
    yield found
    for intake in found:
        await intake.stop()


@pytest.fixture
async def send(bootstrap_servers):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:

        async def sent(partition, *values):
            for value in values:
                await producer.send_and_wait(partition.topic, value, partition=partition.partition)

        yield sent


async def read_to(consumer, partition, offset):
    async def there():
        return await consumer.position(partition) >= offset

    await eventually(there, f"{partition} is read to {offset}")


async def test_what_comes_is_read_though_nobody_has_taken_what_came_before(
    consumer, where, intakes, send
):
    for number in range(1, 4):
        for partition in where:
            await send(partition, b"%d" % number)
            # Nothing is taken meanwhile, of either partition.
            await read_to(consumer, partition, number)
    for intake in intakes:
        assert [record.value for record in await intake.take()] == [b"1", b"2", b"3"]


async def test_a_batch_is_read_ahead_and_no_more(consumer, where, intakes, send):
    one, other = where
    await send(one, *(b"%d" % number for number in range(3 * MAX_BATCH)))
    await send(other, b"x")
    # A batch that was fetched comes behind the last that did not fill it.
    await read_to(consumer, one, MAX_BATCH)
    await read_to(consumer, other, 1)
    assert await consumer.position(one) < 2 * MAX_BATCH
    taken = []
    async with asyncio.timeout(DEADLINE_S):
        while len(taken) < 3 * MAX_BATCH:
            batch = await intakes[0].take()
            assert len(batch) <= MAX_BATCH
            taken += batch
    assert [record.offset for record in taken] == list(range(3 * MAX_BATCH))


async def test_large_requests_fill_it_sooner(consumer, where, intakes, send, monkeypatch):
    monkeypatch.setattr("scoring.intake.AHEAD_BYTES", 10)
    await send(where[0], b"x" * 10)
    await read_to(consumer, where[0], 1)
    await send(where[0], b"y")
    await send(where[1], b"z")
    await read_to(consumer, where[1], 1)
    assert await consumer.position(where[0]) == 1
    assert [record.value for record in await intakes[0].take()] == [b"x" * 10]
    assert [record.value for record in await intakes[0].take()] == [b"y"]


async def test_who_waits_hears_what_ended_the_reading(consumer, intakes):
    waiting = asyncio.create_task(intakes[0].take())
    await asyncio.sleep(0)
    await consumer.stop()
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ConsumerStoppedError):
            await waiting
        with pytest.raises(ConsumerStoppedError):
            await intakes[0].take()
