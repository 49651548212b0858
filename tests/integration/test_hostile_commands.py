"""Whatever is sent as a command: its sender hears of it, and the next one is applied."""

import asyncio
import itertools
import json
import struct
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import psutil
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

from bench.rig import ends, fill
from client import (
    BatonClient,
    CommandIdReusedError,
    CommandTooLargeError,
)
from schemas.checks import Check
from schemas.cloudevents import CloudEvent, encode
from schemas.topics import partition_for
from tests.checker import assert_gapless, log_of
from tests.support import DEADLINE_S, Process, eventually, new_settings, read_all
from tests.unit.test_decide import manifest
from transport.admin import ensure_topics
from transport.transactions import Write
from worker.inbox import CommandMessage
from worker.lifecycle.decide import decide
from worker.lifecycle.rules import Rules
from worker.owner import Duties, PartitionOwner

pytestmark = pytest.mark.broker

numbers = itertools.count()
MIB = 1024 * 1024


class Plane:
    """A worker that runs, and a client of it."""

    def __init__(self, settings, worker, baton):
        self.settings, self.worker, self.baton = settings, worker, baton
        self.topic = settings.topics.commands

    async def publish(self, value, headers=(), *, partition=0, key=b"k", timestamp_ms=None):
        async with AIOKafkaProducer(
            bootstrap_servers=self.settings.bootstrap_servers, max_request_size=4 * MIB
        ) as producer:
            return await producer.send_and_wait(
                self.topic.name,
                value,
                key=key,
                partition=partition,
                headers=list(headers),
                timestamp_ms=timestamp_ms,
            )

    async def bystander(self, partition=0):
        """A command right behind, on the same partition, is applied, by the same process."""
        spaces = (f"bystander-{number}" for number in numbers)
        space = next(s for s in spaces if partition_for(s.encode(), 2) == partition)
        assert (await self.baton.create_space(space)).event.partition == partition
        assert self.worker.popen.poll() is None, self.worker.tail()

    async def outcomes(self, command_id):
        return [event for event in await log_of(self.settings) if event.command_id == command_id]

    async def outcome(self, command_id):
        (event,) = await self.outcomes(command_id)
        return event

    async def dead_letter(self, sent):
        (letter,) = [
            record
            for record in await read_all(self.settings, self.settings.topics.dead_letters)
            if dict(record.headers)["dead-letter-offset"] == str(sent.offset).encode()
            and dict(record.headers)["dead-letter-partition"] == str(sent.partition).encode()
        ]
        return letter, dict(letter.headers)["dead-letter-reason"].decode()


@pytest.fixture(scope="module")
async def plane(bootstrap_servers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plane")
    settings = new_settings(bootstrap_servers, folder)
    worker = Process("worker", settings, folder)
    try:
        await asyncio.to_thread(worker.ready)
        async with BatonClient(settings, source="/test", timeout_s=DEADLINE_S) as baton:
            yield Plane(settings, worker, baton)
        assert worker.stop() == 0, worker.tail()
    finally:
        worker.kill()
    assert_gapless(await log_of(settings))


def command(name, id, /, source="/raw", actor="ana", **data):
    attributes = {"specversion": "1.0", "id": id, "source": source, "actor": actor}
    return encode(CloudEvent(attributes | {"type": f"baton.command.{name}.v1"}, data))


def nested(depth):
    return b"[" * depth + b"]" * depth


STRUCTURED = [("content-type", b"application/cloudevents+json")]
KNOWN, _ = command("create-space", "known")
FOREIGN, _ = encode(
    CloudEvent({"specversion": "1.0", "id": "i", "source": "/s", "type": "com.example.sold"})
)
STRUCTURED_ID = b'{"specversion":"1.0","source":"/s","type":"baton.command.x.v1","id":%s}'


@pytest.mark.parametrize(
    ("value", "headers", "key", "reason"),
    [
        (b"\xff\xfe", KNOWN, b"k", "the value is not JSON"),
        (b"{}", FOREIGN, b"k", "not a command: CloudEvents type 'com.example.sold'"),
        (None, KNOWN, b"k", "the record has no value"),
        (b"{}", [], None, "missing ce_specversion"),
        (b"{}", [*KNOWN, ("note", b"\xff")], b"k", "header 'note' is not UTF-8"),
        (b'{"space_id": "s", "name": 1e400}', KNOWN, b"k", "beyond a double"),
        (b'{"space_id": "s", "name": NaN}', KNOWN, b"k", "NaN is not JSON"),
        (b'{"space_id": "s", "name": "\\ud800"}', KNOWN, b"k", "surrogates not allowed"),
        (b'{"space_id": "s", "name": %s}' % (b"9" * 5000), KNOWN, b"k", "not JSON"),
        (nested(100_000), KNOWN, b"k", "not JSON"),
        (nested(100_000), STRUCTURED, b"k", "not JSON"),
        (STRUCTURED_ID % nested(100_000), STRUCTURED, b"k", "not JSON"),
    ],
)
async def test_what_cannot_be_read_is_a_dead_letter(plane, value, headers, key, reason):
    sent = await plane.publish(value, headers, key=key)
    await plane.bystander()
    letter, told = await plane.dead_letter(sent)
    assert reason in told
    assert (letter.key, letter.value) == (key, value or b"")
    assert set(headers) <= set(letter.headers)


MANIFEST = {
    "name": "m",
    "uri": "/nowhere/m.joblib",
    "sha256": "a" * 64,
    "framework": {"name": "scikit-learn", "version": "1.9.0"},
}


@pytest.mark.parametrize(
    ("name", "data", "check"),
    [
        ("replace-model", {"space_id": "s"}, "type"),
        ("create-space", {"space_id": "x" * 900_000, "name": "n"}, "space_id"),
        ("create-space", {"space_id": json.loads(nested(300)), "name": "n"}, "space_id"),
        ("create-space", {"space_id": "a\0b", "name": "n"}, "space_id"),
        (
            "promote-asset",
            {"space_id": "s", "manifest": MANIFEST | {"metrics": {"auc": "NaN"}}},
            "manifest.metrics.auc",
        ),
        (
            "promote-asset",
            {"space_id": "s", "manifest": MANIFEST | {"metrics": {"auc": 10**400}}},
            "manifest.metrics.auc",
        ),
        (
            "promote-asset",
            {
                "space_id": "s",
                "manifest": MANIFEST
                | {"sample": {"fields": ["x"], "values": [[json.loads(nested(220))]]}},
            },
            "manifest.sample",
        ),
        (
            "replace-asset",
            {"space_id": "s", "deployment_id": "d", "asset_id": "a", "expected_revision": 1.5},
            "expected_revision",
        ),
    ],
)
@pytest.mark.parametrize("partition", [0, 1])
async def test_what_does_not_fit_its_schema_is_rejected_by_its_faults(
    plane, name, data, check, partition
):
    known = f"invalid-{next(numbers)}"
    headers, value = command(name, known, **data)
    home = partition_for(str(data["space_id"]).encode(), 2)
    await plane.publish(value, headers, partition=partition)
    await plane.bystander(partition)
    if home != partition and data["space_id"] == "s":
        await plane.bystander(home)
    event = await plane.outcome(known)
    assert (event.name, event.data.code) == ("command-rejected", "invalid_command")
    assert check in {fault.name for fault in event.data.checks}


@pytest.mark.parametrize(
    ("id", "source", "actor"),
    [
        ("i" * 256 * 1024, "/raw", "ana"),
        ("long-source", "s" * 256 * 1024, "ana"),
        ("long-actor", "/raw", "a" * 256 * 1024),
        # Six bytes each once they are JSON.
        ("\x01" * 900_000, "/raw", "ana"),
        ("odd \x00 \u2028 \U0001f600", "/raw", "ana"),
    ],
)
async def test_whatever_a_command_calls_itself_it_is_applied_and_named(plane, id, source, actor):
    space = f"named-{next(numbers)}"
    home = partition_for(space.encode(), 2)
    headers, value = command("create-space", id, source, actor, space_id=space, name="n\0")
    for _ in range(2):
        await plane.publish(value, headers, partition=home)
    await plane.bystander(home)
    event = await plane.outcome(id)
    assert event.name == "space-created"
    assert (event.attributes["causationid"], event.attributes["causationsource"]) == (id, source)
    assert (event.data.actor, event.data.name) == (actor, "n\0")


async def test_a_rejection_too_large_for_the_log_says_so_instead(plane):
    # Quoted three times, escaped each time.
    headers, value = command("\x01" * 600_000, "large", space_id="s")
    await plane.publish(value, headers, partition=partition_for(b"s", 2))
    await plane.bystander(partition_for(b"s", 2))
    event = await plane.outcome("large")
    assert event.data.code == "invalid_command"
    assert "at most" in event.data.message


@pytest.mark.parametrize("partition", [0, 1])
async def test_numbers_beyond_64_bits_are_decided_like_any_other(plane, partition):
    headers, value = command(
        "delete-deployment",
        f"big-{partition}",
        space_id="s",
        deployment_id="d",
        expected_revision=10**100,
    )
    await plane.publish(value, headers, partition=partition)
    await plane.bystander(partition)
    await plane.bystander(1 - partition)
    assert (await plane.outcome(f"big-{partition}")).data.code == "space_not_found"


@pytest.mark.parametrize("size", [2 * MIB, 10 * MIB])
async def test_a_command_too_large_for_the_broker_is_told_by_its_size(plane, size):
    with pytest.raises(CommandTooLargeError, match="at most 1047552") as told:
        await plane.baton.create_space("large", description="x" * size)
    assert size < told.value.size < size + 1000
    assert f"{told.value.size} bytes" in str(told.value)
    await plane.bystander()


async def test_an_id_used_again_for_another_command_has_no_effect_and_its_sender_hears_it(plane):
    await plane.baton.create_space("first", command_id="mine")
    second = next(s for s in "abcdefgh" if partition_for(s.encode(), 2) == home_of("first"))
    with pytest.raises(CommandIdReusedError, match=r"create-space\.v1 in space first"):
        await plane.baton.create_space(second, command_id="mine")
    with pytest.raises(CommandIdReusedError, match="used before"):
        await plane.baton.send("delete-asset", {"space_id": "first", "asset_id": "a"}, "mine")
    # The same one again is told what became of it.
    assert (await plane.baton.create_space("first", command_id="mine")).name == "space-created"
    assert second not in {space.space_id for space in await plane.baton.spaces()}
    assert len(await plane.outcomes("mine")) == 1


async def test_a_reader_of_the_state_keeps_none_of_the_commands(plane):
    await plane.baton.create_space("kept")
    assert "kept" in {space.space_id for space in await plane.baton.spaces()}
    kinds = {key.partition("/")[0] for key, _ in plane.baton._view.items()}
    assert kinds <= {"space", "asset", "deployment"}


def home_of(space):
    return partition_for(space.encode(), 2)


@pytest.mark.parametrize("timestamp_ms", [0, 1, 4_102_444_800_000])
async def test_the_clock_of_a_producer_counts_for_nothing(plane, timestamp_ms):
    space = f"clock-{timestamp_ms}"
    headers, value = command("create-space", space, space_id=space, name="n")
    headers.append(("ce_time", b"9999-99-99 and no time at all"))
    before = time.time_ns() // 1_000_000
    sent = await plane.publish(value, headers, partition=home_of(space), timestamp_ms=timestamp_ms)
    await plane.bystander(home_of(space))
    event = await plane.outcome(space)
    assert event.name == "space-created"
    # Retention, and the memory of ids, go by the broker's clock.
    assert before - 1000 < sent.timestamp < before + 60_000
    assert event.time.startswith(time.strftime("%Y-", time.gmtime()))


def zstd(raw):
    """A frame of raw blocks: RFC 8878, section 3.1.1."""
    blocks = [raw[at : at + 100_000] for at in range(0, len(raw), 100_000)]
    frame = struct.pack("<IBI", 0xFD2FB528, 0b10100000, len(raw))
    for number, block in enumerate(blocks, 1):
        frame += struct.pack("<I", len(block) << 3 | (number == len(blocks)))[:3] + block
    return frame


def record_batch(value, headers):
    """A batch of one record, as its bytes: aiokafka itself would make none of the odd ones."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, MIB)
    builder.append(0, None, key=b"k", value=value, headers=headers)
    return bytearray(builder.build())


def compressed(batch):
    """The same batch, its records in a zstd frame: attribute 4."""
    body = zstd(bytes(batch[61:]))
    del batch[61:]
    batch[22] |= 4
    batch += body
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
    return batch


async def publish_batch(plane, batch, partition):
    async with AIOKafkaProducer(bootstrap_servers=plane.settings.bootstrap_servers) as producer:
        await producer.partitions_for(plane.topic.name)
        leader = producer.client.cluster.leader_for_partition(
            TopicPartition(plane.topic.name, partition)
        )
        request = ProduceRequest(
            transactional_id=None,
            required_acks=-1,
            timeout=10_000,
            topics=[(plane.topic.name, [(partition, bytes(batch))])],
        )
        answer = await producer.client.send(leader, request)
        ((_, ((_, code, *_),)),) = answer.topics
        assert code == 0


async def test_a_command_compressed_by_a_codec_that_baton_lacks_is_applied(plane):
    headers, value = command("create-space", "zstd", space_id="zstd", name="n")
    await publish_batch(plane, compressed(record_batch(value, headers)), home_of("zstd"))
    await plane.bystander(home_of("zstd"))
    assert (await plane.outcome("zstd")).name == "space-created"


class Latin1(str):
    __slots__ = ()

    def encode(self, *_):
        return super().encode("latin-1")


@pytest.mark.parametrize("partition", [0, 1])
async def test_a_header_whose_name_is_not_utf8_hides_no_command(plane, partition):
    known = f"latin-{partition}"
    headers, value = command("create-space", known, space_id=known, name="n")
    batch = record_batch(value, [*headers, (Latin1("gr\xf6\xdfe"), b"1")])
    await publish_batch(plane, batch, partition)
    await plane.bystander(partition)
    await plane.bystander(1 - partition)
    assert (await plane.outcome(known)).name == "space-created"


async def test_a_flood_to_unknown_spaces_is_answered_and_keeps_no_one_waiting(plane):
    count = 10_000
    worker = psutil.Process(plane.worker.popen.pid)
    before = worker.memory_info().rss
    events = plane.settings.topics.events
    source = await ends(plane.settings, events)

    def flood():
        for number in range(count):
            space = f"unknown-{number}"
            headers, value = command(
                "delete-asset", space, source="/flood", space_id=space, asset_id="a"
            )
            home = home_of(space)
            yield Write(plane.topic.name, home, space.encode(), value, headers)

    await fill(plane.settings, flood())

    async def answered():
        # In its turn in the partition, while the flood is worked off.
        await asyncio.gather(plane.bystander(0), plane.bystander(1))
        now = await ends(plane.settings, events)
        return sum(now) - sum(source) > count

    await eventually(answered, "the flood is answered")
    flooded = [event for event in await log_of(plane.settings) if event.attributes
               ["causationsource"] == "/flood"]  # fmt: skip
    assert len(flooded) == count
    assert {event.data.code for event in flooded} == {"space_not_found"}
    grown = worker.memory_info().rss - before
    assert grown < 30 * MIB, f"{grown / MIB:.1f} MiB for {count} commands"


@pytest.fixture
async def alone(bootstrap_servers, tmp_path):
    """Settings of one partition, with a few records of it: owners compare offsets with its end."""
    settings = replace(new_settings(bootstrap_servers, tmp_path), control_partitions=1)
    await ensure_topics(settings.bootstrap_servers, settings.topics)
    for _ in range(3):
        await Plane(settings, None, None).publish(b"{}")
    return settings


@asynccontextmanager
async def owner_of(settings, verifier=None):
    rules = Rules({"scikit-learn": "1.9.1"}, roots=("/store",))
    owner = PartitionOwner(Duties(settings, rules, verifier, fail), 0)
    await owner.start()
    try:
        yield owner
    finally:
        await owner.close()


def fail(error):
    raise AssertionError(error)


def message(offset, name, /, **data):
    headers, value = command(name, f"c{offset}", **data)
    return CommandMessage(0, offset, 1_800_000_000_000, b"k", value, headers)


async def test_an_error_in_the_rules_lays_one_command_aside_and_no_other(
    alone, monkeypatch, caplog
):
    def broken(view, known, now_ms, rules):
        if known.data.space_id == "b":
            raise ZeroDivisionError("nobody foresaw it")
        return decide(view, known, now_ms, rules)

    monkeypatch.setattr("worker.batch.decide", broken)
    async with owner_of(alone) as owner:
        spaces = enumerate("abc")
        await owner.apply([message(n, "create-space", space_id=s, name=s) for n, s in spaces])
    assert [event.data.space_id for event in await log_of(alone)] == ["a", "c"]
    (letter,) = await read_all(alone, alone.topics.dead_letters)
    told = dict(letter.headers)
    reason = b"the worker failed on it: ZeroDivisionError: nobody foresaw it"
    assert told["dead-letter-reason"] == reason
    assert told["ce_id"] == b"c1"
    assert "Traceback" in caplog.text


class Verbose:
    """Finds labels that differ, and tells all of them."""

    async def verify(self, _):
        labels = ["label" * 200] * 5000
        return (Check(name="classes", passed=False, expected=labels, actual=labels, hint="no"),)


async def test_a_verification_that_tells_too_much_for_the_log_still_ends_its_change(alone):
    async with owner_of(alone, Verbose()) as owner:
        await owner.apply(
            [
                message(0, "create-space", space_id="s", name="s"),
                message(1, "promote-asset", space_id="s", asset_id="a", manifest=manifest()),
                message(2, "create-deployment", space_id="s", asset_id="a", name="d"),
            ]
        )

        async def ended():
            return (await log_of(alone))[-1].name == "update-failed"

        await eventually(ended, "the verification ends")
    event = (await log_of(alone))[-1]
    assert [(check.name, check.hint) for check in event.data.checks][-1] == ("classes", "no")
