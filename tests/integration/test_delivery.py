"""Partitions are taken over and committed by one term at a time, all of its answers together."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ProducerFenced

from scoring.delivery import new_delivery
from scoring.places import Place
from scoring.settings import AT_LEAST_ONCE, EXACTLY_ONCE, ScoringSettings
from tests.chaos.log import committed_places
from tests.support import DEADLINE_S, eventually, read_all
from transport.consumer import Consumer
from transport.transactions import FencedProducer, Write

pytestmark = pytest.mark.broker


@pytest.fixture
async def member(settings):
    """Make members of the group: their consumer, with partitions, and a new delivery each time."""
    consumers, deliveries = [], []

    async def join(delivery=EXACTLY_ONCE, consumer=None):
        scoring = ScoringSettings(settings, delivery=delivery)
        if consumer is None:
            consumer = Consumer(
                bootstrap_servers=settings.bootstrap_servers,
                group_id=scoring.group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                heartbeat_interval_ms=100,
            )
            consumers.append(consumer)
            consumer.subscribe([settings.topics.requests.name])
            await consumer.start()
        deliveries.append(new_delivery(scoring, consumer))
        return consumer, deliveries[-1]

    yield join
    for delivery in deliveries:
        await delivery.stop()
    for consumer in consumers:
        await consumer.stop()


@pytest.fixture
def where(settings):
    return [TopicPartition(settings.topics.requests.name, number) for number in range(2)]


def answer(settings, partition, text):
    return [Write(settings.topics.responses.name, partition.partition, None, text)]


async def places(settings):
    return await committed_places(settings, ScoringSettings(settings).group)


@pytest.fixture
def commits(monkeypatch):
    """Of each transaction: how many answers it holds, and the partitions whose places."""
    found = []
    commit = FencedProducer.commit

    async def noted(producer, writes, offsets, group):
        found.append((len(writes), sorted(partition.partition for partition in offsets)))
        await commit(producer, writes, offsets, group)

    monkeypatch.setattr(FencedProducer, "commit", noted)
    return found


async def test_partitions_that_are_ready_are_committed_together(settings, member, where, commits):
    _, term = await member()
    await asyncio.gather(*map(term.take, where))
    for turn in (1, 2):
        term.prepare()
        texts = [b"%d-%d" % (turn, partition.partition) for partition in where]
        await asyncio.gather(
            *(
                term.commit(answer(settings, partition, text), partition, Place(turn))
                for partition, text in zip(where, texts, strict=True)
            )
        )
    assert commits == [(2, [0, 1]), (2, [0, 1])]
    found = await places(settings)
    assert {number: place.offset for number, place in found.items()} == {0: 2, 1: 2}
    answers = await read_all(settings, settings.topics.responses)
    assert sorted(record.value for record in answers) == [b"1-0", b"1-1", b"2-0", b"2-1"]


async def test_no_transaction_holds_more_than_it_should(
    settings, member, where, monkeypatch, commits
):
    monkeypatch.setattr("scoring.delivery.ANSWERS_AT_ONCE", 3)
    _, term = await member()
    await asyncio.gather(*map(term.take, where))
    # One partition has more than that, and the other comes after it.
    await asyncio.gather(
        *(term.commit(4 * answer(settings, part, b"x"), part, Place(4)) for part in where)
    )
    assert commits == [(4, [0]), (4, [1])]


async def test_a_term_is_fenced_by_the_next_even_where_it_has_committed_nothing(
    settings, member, where
):
    consumer, first = await member()
    assert [await first.take(part) for part in where] == [Place(0), Place(0)]
    assert {place.holder for place in (await places(settings)).values()} == {first.name}
    _, second = await member(consumer=consumer)
    # One partition of two is taken: enough to stop the other term in both.
    assert await second.take(where[0]) == Place(0, holder=first.name)
    for part in where:
        with pytest.raises(ProducerFenced):
            await first.commit(answer(settings, part, b"late"), part, Place(1))
    # Nothing comes of what is begun ahead, or committed, later.
    first.prepare()
    with pytest.raises(ProducerFenced):
        await first.commit([], where[0], Place(1))
    await second.commit(answer(settings, where[0], b"good"), where[0], Place(1))
    answers = await read_all(settings, settings.topics.responses)
    assert [record.value for record in answers] == [b"good"]


async def test_a_member_of_an_earlier_generation_takes_nothing(
    settings, member, where, monkeypatch
):
    consumer, first = await member()
    for part in where:
        await first.take(part)
    # A second member: the group is another one, of which the first has not heard yet.
    stale = consumer._coordinator.generation
    other, second = await member()

    async def shared():
        return len(other.assignment()) == len(consumer.assignment()) == 1

    async with asyncio.timeout(DEADLINE_S):
        await eventually(shared, "both members have a partition")
    (mine,), (theirs,) = consumer.assignment(), other.assignment()
    await second.take(theirs)
    commit = consumer.commit

    async def behind_the_times(offsets):
        # Only now: a heartbeat would tell it, and it would join anew.
        consumer._coordinator.generation = stale
        await commit(offsets)

    monkeypatch.setattr(consumer, "commit", behind_the_times)
    _, late = await member(consumer=consumer)
    with pytest.raises(ProducerFenced, match="moved on"):
        await late.take(mine)
    found = await places(settings)
    assert found[mine.partition].holder == first.name
    assert found[theirs.partition].holder == second.name


async def test_what_is_owed_and_who_held_it_last_outlives_an_agent_that_fences_nobody(
    settings, member, where
):
    consumer, first = await member()
    await first.take(where[0])
    await first.commit([], where[0], Place(5, frozenset({3})))
    _, plain = await member(AT_LEAST_ONCE, consumer)
    assert await plain.take(where[0]) == Place(5, frozenset({3}), first.name)
    await plain.commit(answer(settings, where[0], b"3"), where[0], Place(6))

    async def committed():
        return (await places(settings))[0] == Place(6, holder=first.name)

    await eventually(committed, "the offset follows")
    _, third = await member(consumer=consumer)
    await third.take(where[0])
    with pytest.raises(ProducerFenced):
        await first.commit([], where[0], Place(7))
