"""The end of a run: everything that was asked for is worked off."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.records import CursorRecord
from schemas.topics import Topics
from scoring.places import Place
from tests.chaos.log import committed_places
from transport.reading import new_consumer, partitions_of
from transport.settings import Settings
from transport.state_view import StateView

POLL_S = 0.3


async def drained(settings: Settings, patience_s: float) -> bool:
    """Wait, at most so long, until requests and commands are worked off; whether they are."""
    servers, topics = settings.bootstrap_servers, settings.topics
    view, probe = StateView(servers, topics.state), new_consumer(servers)
    await view.start()
    await probe.start()
    try:
        end = time.monotonic() + patience_s
        while not (done := await answered(settings, probe) and await applied(topics, view, probe)):
            if time.monotonic() > end:
                break
            await asyncio.sleep(POLL_S)
        return done
    finally:
        await probe.stop()
        await view.stop()


async def answered(settings: Settings, probe: AIOKafkaConsumer) -> bool:
    """Whether the committed offsets have reached the ends of the requests, and none is owed."""
    ends = await probe.end_offsets(partitions_of(settings.topics.requests))
    places = await committed_places(settings, f"{settings.app}-scoring")
    for where, end in ends.items():
        place = places.get(where.partition, Place(0))
        if place.offset < end or place.owed:
            return False
    return True


async def applied(topics: Topics, view: StateView, probe: AIOKafkaConsumer) -> bool:
    """Whether nothing is pending, and each cursor stands at the last command."""
    await view.catch_up()
    if any(b'"pending":{' in value or b'"trial":{' in value for _, value in view.items()):
        return False
    ends = await probe.end_offsets(partitions_of(topics.commands))
    for where, end in ends.items():
        cursor = view.cursors.get(where.partition)
        last = -1 if cursor is None else CursorRecord.model_validate_json(cursor).offset
        probe.assign([where])
        probe.seek(TopicPartition(*where), last + 1)
        # Markers of transactions may lie behind the last command.
        while await probe.position(where) < end:
            if any((await probe.getmany(where, timeout_ms=200)).values()):
                return False
    return True
