"""What waits in a partition: records that nobody has taken for a while, and nothing else."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from tests.support import eventually
from transport.backlog import Backlog, Stand
from transport.reading import new_consumer

pytestmark = pytest.mark.broker


@pytest.fixture
async def where(settings):
    return TopicPartition(settings.topics.requests.name, 0)


@pytest.fixture
async def probe(bootstrap_servers):
    found = new_consumer(bootstrap_servers)
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def look(bootstrap_servers, where, probe):
    backlog = Backlog(bootstrap_servers)

    async def looked(position, progress=0):
        return (await backlog.look(probe, {where: Stand(position, progress)}))[where]

    return looked


@pytest.fixture
async def send(bootstrap_servers, where, probe):
    """Append a record in a transaction of its own; the offset behind its marker."""

    async def sent(*, commit=True):
        async with AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers, transactional_id=where.topic
        ) as producer:
            await producer.begin_transaction()
            record = await producer.send_and_wait(where.topic, b"{}", partition=where.partition)
            await (producer.commit_transaction() if commit else producer.abort_transaction())
        end = record.offset + 2

        async def ended():
            # Behind the producer, the coordinator writes the marker.
            return (await probe.end_offsets([where]))[where] == end

        await eventually(ended, "the transaction has ended")
        return end

    return sent


async def test_markers_and_what_was_taken_back_do_not_wait(send, look):
    done = await send() - 1
    await send(commit=False)
    # The marker of the first, a record that was taken back and its marker: as far as is known yet.
    assert await look(done) == (3, 0.0)
    for _ in range(2):
        assert await look(done) == (0, 0.0)
    await send()
    assert await look(done) == (2, 0.0)
    assert (await look(done)).seconds > 0


async def test_a_record_waits_from_when_it_is_seen_until_anything_is_done(send, look):
    assert await look(0) == await look(0) == (0, 0.0)
    await asyncio.sleep(0.5)
    await send()
    assert await look(0) == (2, 0.0)
    await asyncio.sleep(0.2)
    assert (await look(0)).seconds >= 0.2
    # It is not this one that was done, but another: whoever does anything does not stand still.
    assert await look(0, progress=1) == (2, 0.0)
    assert await look(1, progress=2) == (1, 0.0)


async def test_nobody_is_late_while_the_broker_is_away(send, look, probe, monkeypatch):
    await send()
    await look(0)
    await look(0)
    await asyncio.sleep(0.2)
    with monkeypatch.context() as away:

        async def unreachable(_):
            raise KafkaConnectionError

        away.setattr(probe, "end_offsets", unreachable)
        with pytest.raises(KafkaConnectionError):
            await look(0)
    assert await look(0) == (2, 0.0)
