"""What must hold whatever has died: read from the topics, as any consumer may."""

from collections import Counter

from client import events
from schemas.records import decode_record
from tests.support import read_all

SERVING = {"deployment-created", "deployment-updated", "deployment-rolled-back"}


async def log_of(settings):
    return [event async for event in events(settings)]


def assert_gapless(log):
    for partition in {event.partition for event in log}:
        found = [event.sequence for event in log if event.partition == partition]
        assert found == list(range(1, len(found) + 1))


async def assert_log_and_state_agree(settings, spaces):
    log = await log_of(settings)
    assert_gapless(log)
    assert Counter(event.command_id for event in log) == dict.fromkeys(spaces, 1)
    state = {}
    for record in await read_all(settings, settings.topics.state):
        state[record.partition, record.key.decode()] = record.value
    found = {
        decode_record(key, value).space_id
        for (_, key), value in state.items()
        if key.startswith("space/")
    }
    assert found == {event.data.space_id for event in log} == set(spaces)


def assert_revisions_rise_by_one(log):
    revisions = Counter()
    for event in log:
        if event.name in SERVING:
            revisions[event.data.deployment_id] += 1
            assert event.data.revision == revisions[event.data.deployment_id]
    assert revisions


async def assert_state_is_what_the_log_says(settings, log):
    """Deployments as the events leave them, and as the state table has them."""
    expected = {}
    for event in log:
        data = event.data
        if event.name in SERVING:
            expected[event.attributes["subject"]] = (data.revision, data.after.asset_id)
    state = {}
    for record in await read_all(settings, settings.topics.state):
        state[record.key.decode()] = record.value
    found = {}
    for key in expected:
        record = decode_record(key, state[key])
        assert record.pending is None
        found[key] = (record.revision, record.asset.asset_id)
    assert found == expected


async def assert_each_answered_once(settings, count):
    answers = await read_all(settings, settings.topics.responses)
    counted = Counter(dict(record.headers)["request-id"] for record in answers)
    assert len(counted) == count
    assert set(counted.values()) == {1}
    sent = await read_all(settings, settings.topics.requests)
    assert {dict(record.headers)["request-id"] for record in sent} == set(counted)
