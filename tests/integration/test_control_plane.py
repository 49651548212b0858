"""Commands on the real broker: each has one outcome, and the log agrees with the state."""

import json
import time

import pytest
from aiokafka import AIOKafkaProducer

from client import BatonClient, CommandRejected, UpdateFailed, events
from schemas.cloudevents import CloudEvent, encode
from schemas.records import Status
from schemas.topics import partition_for
from tests.support import eventually, read_all, until_there

pytestmark = pytest.mark.broker

VERIFY_TIME_LIMIT_S = "10"


async def send_raw(settings, value, headers=(), *, partition, key=b"k"):
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers) as producer:
        return await producer.send_and_wait(
            settings.topics.commands.name, value, key=key, partition=partition, headers=headers
        )


def command(type, id, /, **data):
    return encode(
        CloudEvent(
            {
                "specversion": "1.0",
                "id": id,
                "source": "/raw",
                "type": f"baton.command.{type}.v1",
                "actor": "ana@example.com",
            },
            data,
        )
    )


async def outcomes(settings, command_id):
    log = [event async for event in events(settings)]
    return [event for event in log if event.command_id == command_id]


async def outcome(settings, command_id):
    found = []

    async def ended():
        found[:] = await outcomes(settings, command_id)
        return bool(found)

    await eventually(ended, f"an event of command {command_id}")
    return found[-1]


async def test_the_life_of_a_deployment(stack):
    baton = stack.baton
    space, deployment, (first, second) = await stack.deployed("binary", "binary")
    replaced = await baton.replace_asset(
        space, deployment, second, expected_revision=1, reason="accuracy", comment="better"
    )
    data = replaced.event.data
    assert (replaced.name, replaced.deployment_id) == ("deployment-updated", deployment)
    assert (data.before.asset_id, data.before.revision) == (first, 1)
    assert (data.after.asset_id, data.after.revision) == (second, 2)
    assert (data.reason, data.comment, data.status) == ("accuracy", "better", "deployed")
    assert {check.name for check in data.checks} >= {"digest", "load", "sample_prediction"}
    back = await baton.rollback_deployment(space, deployment, reason="errors")
    assert (back.name, back.revision) == ("deployment-rolled-back", 3)
    record = await baton.deployment(deployment)
    assert (record.status, record.revision, record.asset.asset_id) == ("deployed", 3, first)
    assert [entry.asset_id for entry in record.history] == [first, second, first]
    with pytest.raises(CommandRejected, match="asset_in_use"):
        await baton.delete_asset(space, first)
    await baton.delete_deployment(space, deployment, expected_revision=3)
    await baton.delete_asset(space, first)
    assert (await baton.deployment(deployment)).status is Status.DELETED
    assert [d.deployment_id for d in await baton.deployments(space)] == []
    assert [asset.asset_id for asset in await baton.assets(space)] == [second]
    with pytest.raises(CommandRejected, match="deployment_not_found"):
        await baton.rollback_deployment(space, deployment)


async def test_the_log_counts_without_a_gap_and_says_who_and_when(stack):
    await stack.deployed("binary")
    last = {}
    async for event in events(stack.settings):
        assert event.sequence == last.get(event.partition, 0) + 1
        last[event.partition] = event.sequence
        assert event.attributes["sequence"] == f"{event.sequence:020d}"
        assert event.attributes["causationid"] == event.data.command_id
        assert event.data.actor
        assert event.time.endswith("Z")
    assert last


async def test_a_command_published_twice_is_applied_once(stack):
    first = await stack.baton.create_space("twice", command_id="once-only")
    again = await stack.baton.create_space("twice", command_id="once-only")
    assert first.event == again.event
    assert len(await outcomes(stack.settings, "once-only")) == 1


@pytest.mark.parametrize("structured", [False, True])
async def test_a_command_on_the_wrong_partition_is_sent_home_and_applied_once(stack, structured):
    space = name = f"lost-{structured}"
    home = partition_for(space.encode(), stack.settings.control_partitions)
    headers, value = command("create-space", name, space_id=space, name="Lost")
    if structured:
        attributes = {name[3:]: raw.decode() for name, raw in headers if name.startswith("ce_")}
        value = json.dumps(attributes | {"data": json.loads(value)}).encode()
        headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    await send_raw(stack.settings, value, headers, partition=1 - home)
    event = await outcome(stack.settings, name)
    assert (event.name, event.partition) == ("space-created", home)
    assert event.data.actor == "ana@example.com"
    copies = [
        record
        for record in await read_all(stack.settings, stack.settings.topics.commands)
        if record.value == value
    ]
    assert sorted(record.partition for record in copies) == [0, 1]
    assert len({tuple(record.headers) for record in copies}) == 1
    assert len(await outcomes(stack.settings, name)) == 1


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"\xff\xfe not json", [("ce_id", b"x")], "not JSON"),
        (b"{}", [("note", b"no CloudEvent")], "missing ce_specversion"),
        (b'{"id": "\\ud800"}', [("content-type", b"application/cloudevents+json")], "not JSON"),
    ],
)
async def test_what_is_no_command_goes_to_the_dead_letters_untouched(stack, value, headers, reason):
    sent = await send_raw(stack.settings, value, headers, partition=1, key=b"its key")
    topic = stack.settings.topics.dead_letters
    found = []

    async def dead():
        found[:] = [
            record
            for record in await read_all(stack.settings, topic)
            if dict(record.headers)["dead-letter-offset"] == str(sent.offset).encode()
            and dict(record.headers)["dead-letter-partition"] == b"1"
        ]
        return bool(found)

    await eventually(dead, "the dead letter")
    (letter,) = found
    assert (letter.key, letter.value) == (b"its key", value)
    told = dict(letter.headers)
    assert set(headers) <= set(letter.headers)
    assert told["dead-letter-topic"].decode() == stack.settings.topics.commands.name
    assert reason in told["dead-letter-reason"].decode()
    # Nothing stops the others.
    await stack.baton.create_space(f"after-{sent.offset}")


async def test_an_invalid_command_is_refused_by_the_names_of_its_faults(stack):
    with pytest.raises(CommandRejected) as refused:
        await stack.baton.send("create-space", {"space_id": "typo", "nme": "x"})
    assert refused.value.rejection == "invalid_command"
    assert {check.name for check in refused.value.checks} == {"name", "nme"}
    with pytest.raises(CommandRejected, match="invalid_command"):
        await stack.baton.send("replace-model", {"space_id": "typo"})
    assert "typo" not in [space.space_id for space in await stack.baton.spaces()]


async def test_a_dry_run_reports_and_changes_nothing(stack):
    space, deployment, (_, second, other) = await stack.deployed("binary", "binary", "mixed")
    before = await stack.baton.deployment(deployment)
    checked = await stack.baton.replace_asset(space, deployment, second, dry_run=True)
    assert (checked.name, checked.event.data.passed) == ("update-checked", True)
    with pytest.raises(CommandRejected, match="schema_mismatch") as refused:
        await stack.baton.replace_asset(space, deployment, other, dry_run=True)
    assert "input_schema:age" in {check.name for check in refused.value.checks}
    assert await stack.baton.deployment(deployment) == before


async def test_only_the_expected_revision_is_replaced(stack):
    space, deployment, (_, second) = await stack.deployed()
    with pytest.raises(CommandRejected, match="revision_conflict"):
        await stack.baton.replace_asset(space, deployment, second, expected_revision=7)
    done = await stack.baton.replace_asset(space, deployment, second, expected_revision=1)
    assert done.revision == 2


@pytest.mark.parametrize(
    ("code", "check"),
    [
        ("import time; time.sleep(99)", "time_limit"),
        ("import os; os._exit(3)", "load"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "load"),
        ("x = [0] * 10**10", "memory_limit"),
        ("raise ValueError('no model')", "load"),
    ],
)
async def test_a_candidate_that_cannot_be_loaded_leaves_the_old_one_serving(stack, code, check):
    space, deployment, (first,) = await stack.deployed("binary")
    bad = (await stack.baton.promote_asset(space, stack.running(code))).asset_id
    with pytest.raises(UpdateFailed) as failed:
        await stack.baton.replace_asset(space, deployment, bad)
    assert check in {c.name for c in failed.value.checks if not c.passed}
    record = await stack.baton.deployment(deployment)
    assert (record.status, record.revision, record.asset.asset_id) == ("deployed", 1, first)
    answer = await stack.scoring.score(deployment, [[1.0, 0.0, 0.0]])
    assert (answer.asset_id, answer.revision) == (first, 1)


async def test_a_change_under_way_refuses_the_next(stack, tmp_path):
    space, deployment, (_, second) = await stack.deployed()
    slow = stack.running(until_there(tmp_path / "go"))
    asset = (await stack.baton.promote_asset(space, slow)).asset_id
    headers, value = command(
        "replace-asset", "slow", space_id=space, deployment_id=deployment, asset_id=asset
    )
    home = partition_for(space.encode(), 2)
    await send_raw(stack.settings, value, headers, partition=home)
    started = await outcome(stack.settings, "slow")
    assert (started.name, started.data.status) == ("update-started", "updating")
    with pytest.raises(CommandRejected, match="update_in_progress"):
        await stack.baton.replace_asset(space, deployment, second)
    (tmp_path / "go").touch()

    async def ended():
        return (await outcome(stack.settings, "slow")).name == "update-failed"

    await eventually(ended, "the slow candidate failed")
    done = await stack.baton.replace_asset(space, deployment, second)
    assert done.revision == 2


async def test_a_file_outside_the_stores_is_refused(stack):
    await stack.baton.create_space("outside")
    manifest = stack.manifest().model_copy(update={"uri": "/etc/passwd"})
    with pytest.raises(CommandRejected, match="store_not_allowed"):
        await stack.baton.promote_asset("outside", manifest)


async def test_a_creation_that_fails_says_so(stack):
    space = f"failing-{time.time_ns()}"
    await stack.baton.create_space(space)
    bad = stack.running("raise ValueError('no model')")
    asset = (await stack.baton.promote_asset(space, bad)).asset_id
    with pytest.raises(UpdateFailed) as failed:
        await stack.baton.create_deployment(space, asset, "d")
    deployment = failed.value.event.data.deployment_id
    record = await stack.baton.deployment(deployment)
    assert (record.status, record.revision, record.asset) == ("failed", 0, None)


async def test_a_client_learns_its_ids_before_the_answer(stack):
    from schemas.ids import minted_id

    space, _, (first,) = await stack.deployed("binary")
    async with BatonClient(stack.settings, source="/test") as client:
        made = await client.create_deployment(space, first, "second", command_id="c-17")
    assert made.deployment_id == minted_id("deployment", space, "/test", "c-17")
