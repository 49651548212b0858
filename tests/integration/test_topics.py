"""Topics deleted, made anew or altered: processes say so and end, and nothing is skipped."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from client import BatonClient
from schemas.errors import TopicError
from scoring.settings import ScoringSettings
from tests.checker import log_of
from tests.support import DEADLINE_S, eventually, new_settings, read_all
from transport.admin import configs_of, ensure_topics
from transport.connecting import admin_at
from transport.embedded import EmbeddedKafka
from transport.state_view import StateView

pytestmark = pytest.mark.broker

# By looking, which takes two looks, and not by a request that times out (40 s).
NOTICED_S = 30.0


@pytest.fixture
def fresh(bootstrap_servers, tmp_path):
    return new_settings(bootstrap_servers, tmp_path)


async def delete(settings, *topics):
    async with admin_at(settings.bootstrap_servers) as admin:
        await admin.delete_topics([topic.name for topic in topics])


async def recreate(settings, *topics):
    await delete(settings, *topics)

    async def created():
        try:
            await ensure_topics(settings.bootstrap_servers, settings.topics)
        except (KafkaError, TopicError):
            return False
        return True

    await eventually(created, "the topics are there again")


async def alter(settings, topic, key, value):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, {key: value})
    async with admin_at(settings.bootstrap_servers) as admin:
        await admin.alter_configs([resource])


async def ended(process):
    """Its exit status, and the line that says why."""
    status = await asyncio.to_thread(process.popen.wait, DEADLINE_S)
    lines = process.log.read_text().splitlines()
    told = [line for line in lines if line.startswith("baton ")]
    assert len(told) == 1, process.tail()
    return status, told[0]


async def assert_both_end(services, *words):
    begun = time.monotonic()
    for service in services:
        status, line = await ended(service)
        assert status == 78, service.tail()
        for word in words:
            assert word in line
    assert time.monotonic() - begun < NOTICED_S


@pytest.fixture
async def both(start, fresh):
    """A worker and an agent that run."""
    services = [start("worker", fresh), start("scoring", fresh)]
    for service in services:
        await asyncio.to_thread(service.ready)
    return services


async def test_a_topic_that_the_broker_has_not_heard_of_yet_is_asked_for_again(fresh, monkeypatch):
    name = fresh.topics.state.name
    async with admin_at(fresh.bootstrap_servers) as admin:
        asked = asyncio.create_task(configs_of(admin, [name]))
        await ensure_topics(fresh.bootstrap_servers, fresh.topics)
        assert (await asked)[name]["cleanup.policy"] == "compact"
        monkeypatch.setattr("transport.admin.HEARD_S", 0)
        with pytest.raises(UnknownTopicOrPartitionError, match="no configuration of topic nowhere"):
            await configs_of(admin, ["nowhere"])


async def test_a_configuration_that_the_broker_refuses_is_told_with_its_reason(fresh):
    async with admin_at(fresh.bootstrap_servers) as admin:
        with pytest.raises(TopicError, match=r"topic no/where: .* \(DescribeConfigs\)"):
            await configs_of(admin, ["no/where"])


@pytest.mark.parametrize("name", ["commands", "state", "requests", "responses"])
async def test_a_topic_deleted_under_running_processes_ends_them_and_is_named(fresh, both, name):
    topic = getattr(fresh.topics, name)
    await delete(fresh, topic)
    await assert_both_end(both, f"topic {topic.name}", "deleted", "BATON_TOPIC_PREFIX")


@pytest.mark.parametrize("name", ["commands", "events"])
async def test_a_topic_made_anew_between_two_looks_is_noticed(fresh, both, name):
    topic = getattr(fresh.topics, name)
    await recreate(fresh, topic)
    await assert_both_end(both, f"topic {topic.name}", "created anew", "BATON_TOPIC_PREFIX")


async def test_a_state_table_that_may_forget_ends_the_processes(fresh, both):
    await alter(fresh, fresh.topics.state, "cleanup.policy", "delete")
    await assert_both_end(
        both, f"topic {fresh.topics.state.name} has cleanup.policy=delete, Baton needs compact"
    )


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["commands"], "the commands were deleted, and new ones up to there would be skipped"),
        (["events"], "the audit log was deleted"),
        (["state"], "the state was deleted, and every command would be applied again"),
    ],
)
async def test_a_worker_does_not_start_on_topics_that_tell_of_different_pasts(
    start, fresh, names, told
):
    worker = await asyncio.to_thread(start("worker", fresh).ready)
    async with BatonClient(fresh) as baton:
        await asyncio.gather(*(baton.create_space(f"s{number}") for number in range(8)))
    assert worker.stop() == 0
    lost = [getattr(fresh.topics, name) for name in names]
    await recreate(fresh, *lost)
    before = sorted(await log_of(fresh), key=place)
    status, line = await ended(start("worker", fresh))
    assert (status, f"topic {lost[0].name}" in line or lost[0].name in line) == (78, True)
    assert told in line
    assert sorted(await log_of(fresh), key=place) == before


def place(event):
    return event.partition, event.offset


async def test_an_agent_does_not_start_behind_the_end_of_its_requests(start, fresh):
    await ensure_topics(fresh.bootstrap_servers, fresh.topics)
    requests = TopicPartition(fresh.topics.requests.name, 1)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=fresh.bootstrap_servers,
        group_id=ScoringSettings(fresh).group,
        enable_auto_commit=False,
    )
    async with AIOKafkaProducer(bootstrap_servers=fresh.bootstrap_servers) as producer, consumer:
        consumer.assign([requests])
        await producer.send_and_wait(requests.topic, b"{}", partition=1)
        await consumer.commit({requests: 1})
        # The broker forgets what was committed of a topic that is deleted.
        await recreate(fresh, fresh.topics.requests)
        assert await consumer.committed(requests) is None
        # What a member commits after that it keeps.
        await consumer.commit({requests: 7})
    status, line = await ended(start("scoring", fresh))
    assert status == 78
    assert f"topic {requests.topic} partition 1 ends at offset 0" in line
    assert "has committed 7" in line
    assert await read_all(fresh, fresh.topics.responses) == []


async def test_a_view_of_a_table_that_was_made_anew_says_so(fresh):
    await ensure_topics(fresh.bootstrap_servers, fresh.topics)
    async with AIOKafkaProducer(bootstrap_servers=fresh.bootstrap_servers) as producer:
        for partition in (0, 1):
            topic = fresh.topics.state.name
            await producer.send_and_wait(topic, b"{}", key=b"cursor", partition=partition)
    view = StateView(fresh.bootstrap_servers, fresh.topics.state)
    await view.start()
    try:
        await view.catch_up()
        await recreate(fresh, fresh.topics.state)

        async def told():
            try:
                await view.catch_up(5.0)
            except TopicError as error:
                return "ends at offset 0, and was read to 1 before" in str(error)
            except TimeoutError:
                return False
            return False

        await eventually(told, "the view says that its table was made anew")
    finally:
        await view.stop()


async def test_a_broker_that_is_away_ends_nothing(start, tmp_path):
    kafka = EmbeddedKafka(tmp_path / "kafka")
    await asyncio.to_thread(kafka.start)
    try:
        settings = new_settings(kafka.bootstrap_servers, tmp_path)
        services = [start("worker", settings), start("scoring", settings)]
        for service in services:
            await asyncio.to_thread(service.ready)
        await asyncio.to_thread(kafka.stop)
        # Long enough for several looks at the topics, which all fail.
        await asyncio.sleep(8)
        await asyncio.to_thread(kafka.start)
        async with BatonClient(settings, timeout_s=DEADLINE_S) as baton:
            assert (await baton.create_space("after")).name == "space-created"
        assert [service.popen.poll() for service in services] == [None, None]
    finally:
        await asyncio.to_thread(kafka.stop)
