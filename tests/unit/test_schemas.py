"""What crosses a topic: CloudEvents, partitions, settings."""

import json
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from aiokafka.partitioner import DefaultPartitioner
from cloudevents.core.bindings.kafka import (
    KafkaMessage,
    from_binary,
    from_structured,
    to_binary,
    to_structured,
)
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as TheirEvent
from hypothesis import given

from schemas.cloudevents import CloudEvent, decode, encode
from schemas.errors import SettingsError, UndecodableError
from schemas.ids import minted_id
from schemas.topics import Topics, partition_for
from scoring.settings import ScoringSettings
from transport.settings import Settings
from worker.settings import WorkerSettings

ATTRIBUTES = {
    "specversion": "1.0",
    "id": "7f0c",
    "source": "/pipelines/nightly",
    "type": "baton.command.replace-asset.v1",
    "time": "2026-11-24T10:00:00Z",
    "actor": "ana@example.com",
}
DATA = {"space_id": "fraud", "comment": "Ünïcode ✓", "expected_revision": 3}


def theirs():
    time = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    return TheirEvent(ATTRIBUTES | {"time": time, "datacontenttype": "application/json"}, DATA)


@pytest.mark.parametrize("to", [to_binary, to_structured])
def test_events_of_the_cloudevents_library_are_understood(to):
    message = to(theirs(), JSONFormat())
    event = decode(list(message.headers.items()), message.value)
    assert (event.id, event.source, event.type) == tuple(
        ATTRIBUTES[name] for name in ("id", "source", "type")
    )
    assert event.attributes["actor"] == "ana@example.com"
    assert event.data == DATA


def test_the_cloudevents_library_understands_ours():
    headers, value = encode(CloudEvent(ATTRIBUTES, DATA))
    message = KafkaMessage(headers=dict(headers), key=b"fraud", value=value)
    event = from_binary(message, JSONFormat())
    assert event.get_data() == DATA
    assert event.get_type() == ATTRIBUTES["type"]
    assert event.get_extension("actor") == "ana@example.com"
    again = to_structured(event, JSONFormat())
    assert from_structured(again, JSONFormat()).get_data() == DATA


@pytest.mark.parametrize(
    ("headers", "value", "told"),
    [
        ([], None, "no value"),
        ([], b"{}", "missing ce_specversion, ce_id, ce_source, ce_type"),
        ([("ce_id", b"\xff")], b"{}", "header 'ce_id' is not UTF-8"),
        ([("content-type", b"application/cloudevents+json")], b"[]", "one JSON object"),
        ([("ce_specversion", b"0.3"), ("ce_id", b"i"), ("ce_source", b"s"), ("ce_type", b"t")],
         b"{}", "specversion 1.0"),
        ([], b"NaN", "NaN is not JSON"),
        ([], b"1e999", "beyond a double"),
        ([], '"é"'.encode("utf-16"), "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_cloudevent_says_why(headers, value, told):
    with pytest.raises(UndecodableError, match=told):
        decode(headers, value)


@given(st.binary(min_size=1, max_size=40), st.integers(1, 64))
def test_partitions_are_those_of_the_default_partitioner(key, count):
    numbers = list(range(count))
    assert partition_for(key, count) == DefaultPartitioner()(key, numbers, numbers)


def test_minted_ids_are_of_the_command_its_source_and_its_space():
    made = minted_id("deployment", "fraud", "/pipelines/nightly", "7f0c")
    # Other programs compute it too: it must never change.
    assert made == "7863b37a-4fb4-5adb-9ba0-e3caed4f98ab"
    others = [
        ("asset", "fraud", "/pipelines/nightly", "7f0c"),
        ("deployment", "other", "/pipelines/nightly", "7f0c"),
        ("deployment", "fraud", "/pipelines", "7f0c"),
        ("deployment", "fraud", "/pipelines/nightly", "7f0d"),
    ]
    assert len({made, *(minted_id(*other) for other in others)}) == 5


def test_the_topic_table():
    topics = Topics("x.", control=3, data=5)
    table = {
        topic.name: (topic.partitions, dict(topic.config)["cleanup.policy"])
        for topic in topics.all()
    }
    assert table == {
        "x.commands": (3, "delete"),
        "x.events": (3, "delete"),
        "x.state": (3, "compact"),
        "x.requests": (5, "delete"),
        "x.responses": (5, "delete"),
        "x.dead-letters": (1, "delete"),
    }
    assert dict(topics.events.config)["retention.ms"] == "-1"


@pytest.mark.parametrize("kind", [Settings, WorkerSettings, ScoringSettings])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BATON_CONTROL_PARTITIONS", "0"),
        ("BATON_CONTROL_PARTITIONS", "-4"),
        ("BATON_DATA_PARTITIONS", "½"),
        ("BATON_DATA_PARTITIONS", ""),
    ],
)
def test_a_wrong_shared_setting_is_named(kind, name, text):
    with pytest.raises(SettingsError, match=name.removeprefix("BATON_").lower() + "|" + name):
        kind.from_env({"BATON_BOOTSTRAP_SERVERS": "h:1", name: text})


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        (WorkerSettings, "BATON_VERIFY_TIME_LIMIT_S", "soon"),
        (WorkerSettings, "BATON_UPDATE_DEADLINE_S", "-1"),
        (ScoringSettings, "BATON_DELIVERY", "twice"),
        (ScoringSettings, "BATON_MAX_BATCH", "0"),
    ],
)
def test_a_wrong_setting_is_named(kind, name, text):
    with pytest.raises(SettingsError, match=name):
        kind.from_env({"BATON_BOOTSTRAP_SERVERS": "h:1", name: text})


def test_a_child_process_gets_the_same_settings(tmp_path):
    given = Settings("h:1", "x.", (str(tmp_path), "s3://bucket/models"), "app", 3, 5)
    assert Settings.from_env(given.environment()) == given


def test_an_answer_is_json_that_anyone_reads():
    headers, value = encode(CloudEvent(ATTRIBUTES, DATA))
    assert json.loads(value) == DATA
    assert ("content-type", b"application/json") in headers
