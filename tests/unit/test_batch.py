"""A batch of commands: each whole or not at all, and no more than a transaction should hold."""

import pytest

from schemas.cloudevents import CloudEvent, decode, encode
from schemas.records import CursorRecord
from schemas.topics import LARGE_BYTES, Topics, partition_for
from tests.unit.test_decide import NOW, RULES, Lab, manifest
from transport.transactions import size
from worker.batch import FULL_BYTES, Batch
from worker.inbox import CommandMessage

TOPICS = Topics(control=2)
HOME = 1  # of the space "s" among two partitions
MIB = 1024 * 1024


def message(name, id="c", /, *, value=None, headers=(), **data):
    attributes = {"specversion": "1.0", "id": id, "source": "/test"}
    told, body = encode(CloudEvent(attributes | {"type": f"baton.command.{name}.v1"}, data))
    return CommandMessage(HOME, 7, NOW, b"k", body if value is None else value, (*told, *headers))


def batch_over(lab):
    return Batch(TOPICS, RULES, HOME, lab.view, 0)


def written(batch):
    """What a batch would write besides the cursor, by the last part of the topic."""
    found = {}
    for write in batch.writes(CursorRecord(offset=7, sequence=batch.sequence)):
        if write.key != b"cursor":
            found.setdefault(write.topic.removeprefix("baton."), []).append(write)
    return found


def rejected(batch):
    (event,) = written(batch)["events"]
    data = decode(event.headers, event.value).data
    return data["code"], data["message"]


@pytest.fixture
def lab():
    lab = Lab()
    lab.send("create-space", space_id="s", name="S")
    return lab


def test_a_batch_is_full_of_large_commands_before_it_is_full_of_many(lab):
    batch = batch_over(lab)
    taken = 0
    while not batch.full:
        taken += 1
        batch.add(message("create-space", f"c{taken}", space_id="s", name="n" * MIB))
    # Refused ones write little, and are read all the same.
    assert taken == FULL_BYTES // MIB


def test_a_batch_is_full_of_small_commands_that_write_large_records(lab):
    labels = {"task": "classification", "classes": ["label" * 10_000] * 8}
    for asset in "ab":
        body = manifest(output_schema=labels)
        lab.send("promote-asset", space_id="s", asset_id=asset, manifest=body)
    deployments = []
    for number in range(20):
        lab.send("create-deployment", space_id="s", asset_id="a", name=f"d{number}")
        lab.verified()
        deployments.append(lab.events[-1].data.deployment_id)
    batch = batch_over(lab)
    taken = 0
    while not batch.full:
        told = {"space_id": "s", "deployment_id": deployments[taken], "asset_id": "b"}
        batch.add(message("replace-asset", f"r{taken}", **told))
        taken += 1
    assert taken < len(deployments)
    total = sum(size(write) for writes in written(batch).values() for write in writes)
    assert FULL_BYTES * 0.9 < total < FULL_BYTES + 3 * MIB


def test_a_change_too_large_for_the_state_table_is_rejected(lab):
    # A megabyte of 1e15 is four of 1000000000000000.0, and a change holds two manifests.
    fields = [f"f{number}" for number in range(235)]
    sample = {"fields": fields, "values": [[1e15] * 235] * 1000}
    for asset in "ab":
        lab.send("promote-asset", space_id="s", asset_id=asset, manifest=manifest(sample=sample))
    lab.send("create-deployment", space_id="s", asset_id="a", name="d")
    lab.verified()
    deployment = lab.events[-1].data.deployment_id
    batch = batch_over(lab)
    told = {"space_id": "s", "deployment_id": deployment, "asset_id": "b"}
    batch.add(message("replace-asset", **told))
    code, reason = rejected(batch)
    assert code == "invalid_command"
    assert "to baton.state, at most" in reason
    assert not batch.work
    assert batch.view.deployment(deployment).pending is None


def test_a_command_too_large_to_be_sent_home_is_rejected_where_it_is(lab):
    batch = batch_over(lab)
    away = next(space for space in "tuvwxyz" if partition_for(space.encode(), 2) != HOME)
    batch.add(message("create-space", space_id=away, name="n" * MIB))
    code, reason = rejected(batch)
    assert code == "invalid_command"
    assert "to baton.commands, at most" in reason


def test_a_dead_letter_too_large_to_be_kept_still_says_whence_and_why(lab):
    batch = batch_over(lab)
    batch.add(message("create-space", value=b"\xff" * LARGE_BYTES, headers=[("note", b"n")]))
    (letter,) = written(batch)["dead-letters"]
    told = dict(letter.headers)
    assert letter.value == b""
    assert told["dead-letter-offset"] == b"7"
    assert b"not JSON" in told["dead-letter-reason"]
    assert f"{LARGE_BYTES}"[:3].encode() in told["dead-letter-reason"]


@pytest.mark.parametrize("broken", ["parse_command", "decide", "encode", "encode_record"])
def test_an_error_nobody_foresaw_lays_one_command_aside_and_leaves_no_trace(
    lab, monkeypatch, caplog, broken
):
    import worker.batch

    works = getattr(worker.batch, broken)

    def fails(*arguments):
        if "BROKEN" in repr(arguments):
            raise RuntimeError("BROKEN \ud800")
        return works(*arguments)

    monkeypatch.setattr(worker.batch, broken, fails)
    batch = batch_over(lab)
    other = {"asset_id": "BROKEN", "manifest": manifest()}
    batch.add(message("promote-asset", "one", space_id="s", **other))
    batch.add(message("promote-asset", "two", space_id="s", asset_id="a", manifest=manifest()))
    found = written(batch)
    (letter,) = found["dead-letters"]
    assert dict(letter.headers)["dead-letter-reason"].startswith(b"the worker failed on it")
    (event,) = found["events"]
    assert decode(event.headers, event.value).attributes["sequence"] == f"{1:020d}"
    assert {write.key.split(b"/")[0] for write in found["state"]} == {b"asset", b"command"}
    assert "Traceback" in caplog.text


def test_what_could_not_be_read_back_is_not_written(lab, monkeypatch, caplog):
    # As a metric of NaN was once: accepted, written as null, and no successor could start.
    monkeypatch.setattr("worker.batch.encode_record", lambda _: b'{"space_id": null}')
    batch = batch_over(lab)
    lab.view.put("space/s", None)
    batch.add(message("create-space", space_id="s", name="n"))
    found = written_without_cursor(batch)
    assert [write.topic for write in found] == ["baton.dead-letters"]
    assert "cannot be handled" in caplog.text


def written_without_cursor(batch):
    return [*batch._appended, *batch._records.values()]


def test_a_batch_tallies_what_becomes_of_its_commands(lab):
    batch = batch_over(lab)
    batch.add(message("create-space", "a", space_id="s", name="S"))
    away = next(space for space in "abcdef" if partition_for(space.encode(), 2) != HOME)
    batch.add(message("create-space", "b", space_id=away, name="S"))
    batch.add(message("create-space", "a", space_id="s", name="S"))
    batch.add(message("no-such-thing-🙂", "c", space_id="s"))
    batch.add(message("create-space", "d", value=b"nothing"))
    assert batch.tally.commands == {
        ("create-space", "space_exists"): 1,
        ("create-space", "forwarded"): 1,
        ("create-space", "repeated"): 1,
        # Never a producer's text for a label.
        ("unknown", "invalid_command"): 1,
    }
    assert batch.tally.events == {"command-rejected": 2}
    assert batch.tally.dead_letters == 1
    assert batch.arrived == [NOW] * 5
