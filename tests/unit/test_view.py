"""The state of a partition in memory: what it keeps, and how much of it."""

import tracemalloc
import uuid

from schemas.records import CommandRecord, DeployedAsset, encode_record
from tests.unit.test_decide import DAY, NOW, Lab, manifest
from tests.unit.test_manifests import deployment
from worker.lifecycle.outcome import EXPIRED_AT_ONCE, expire
from worker.lifecycle.view import View


def record(number, outcome="space_not_found", at_ms=NOW):
    return CommandRecord(
        space_id=f"space-{number}",
        command_id=f"command-{number}",
        source="/flood",
        command_type="baton.command.delete-asset.v1",
        outcome=outcome,
        at_ms=at_ms,
    )


def test_a_command_that_has_ended_takes_a_hundred_bytes_or_so():
    count = 50_000
    view = View()
    keys = [f"command/{uuid.uuid4()}" for _ in range(count)]
    tracemalloc.start()
    try:
        for number, key in enumerate(keys):
            # The broker stamps whole batches with one time.
            view.put(key, record(number, at_ms=NOW + number // 50))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / count < 150
    assert len(view) == count
    for key in keys:
        view.put(key, None)
    assert len(view) == len(view._commands) == len(view._accepted) == 0


def test_commands_are_forgotten_oldest_first_and_some_at_a_time():
    lab = Lab()
    keys = [str(uuid.uuid4()) for _ in range(EXPIRED_AT_ONCE + 10)]
    for number, key in enumerate(keys):
        lab.view.put(f"command/{key}", record(number, at_ms=NOW + number))
    first = lab.take(expire(lab.view, NOW + 8 * DAY))
    assert [key for key, _ in first.records] == [f"command/{k}" for k in keys[:EXPIRED_AT_ONCE]]
    assert not lab.view.remembers(keys[0])
    assert lab.view.remembers(keys[-1])
    second = lab.take(expire(lab.view, NOW + 7 * DAY + EXPIRED_AT_ONCE + 4))
    assert len(second.records) == 5
    assert len(lab.view) == 5


def test_a_command_that_has_not_ended_is_kept_whole():
    view, key = View(), str(uuid.uuid4())
    view.put(f"command/{key}", record(1, "accepted"))
    draft = view.overlay()
    assert draft.accepted(key).command_id == "command-1"
    draft.put(f"command/{key}", record(1, "done"))
    assert (draft.accepted(key), draft.remembers(key)) == (None, True)
    assert view.accepted(key) is not None
    draft.merge()
    assert (view.accepted(key), view.remembers(key)) == (None, True)


def test_a_deployment_at_rest_takes_two_kilobytes_until_a_rule_asks_for_it():
    count = 2_000
    held = DeployedAsset(asset_id="a", manifest=manifest(description="x" * 5_000))
    rows = []
    for number in range(count):
        row = deployment(number, name=f"deployment of customer {number}", asset=held)
        rows.append((f"deployment/{row.deployment_id}", encode_record(row)))
    view = View()
    tracemalloc.start()
    try:
        for key, value in rows:
            # The key is a new object for each record that is read.
            view.load(key[:1] + key[1:], value)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / count < 2048
    assert view.deployment_named("s", "deployment of customer 7") == "deployment-7"
    assert len(view.users("a")) == count
    # A draft is told the same, and changes nothing underneath where it is dropped.
    draft = view.overlay()
    assert draft.deployment("deployment-7").asset == held
    draft.put("deployment/deployment-7", None)
    assert draft.deployment_named("s", "deployment of customer 7") is None
    assert view.deployment("deployment-7").asset == held
    draft.merge()
    assert view.deployment("deployment-7") is None
    assert len(view.users("a")) == count - 1
