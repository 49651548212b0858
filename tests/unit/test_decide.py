"""Every command against every state of what it names."""

import itertools

import pytest

from schemas.checks import Check, Code
from schemas.cloudevents import CloudEvent
from schemas.commands import COMMANDS
from schemas.events import EventName
from schemas.ids import command_key
from schemas.records import encode_record
from worker.lifecycle.command import InvalidCommandError, parse_command
from worker.lifecycle.decide import decide, reject_invalid
from worker.lifecycle.decision import NOTHING
from worker.lifecycle.outcome import announce, conclude, deadline_check, expire
from worker.lifecycle.rules import Rules
from worker.lifecycle.view import View

RULES = Rules({"scikit-learn": "1.9.1"}, roots=("/store",))
NOW = 1_800_000_000_000
OK = (Check(name="digest", passed=True),)
BAD = (Check(name="digest", passed=False),)
DAY = 24 * 3600 * 1000


def manifest(**changes):
    return {
        "name": "m",
        "uri": "/store/sha256/aa.joblib",
        "sha256": "a" * 64,
        "framework": {"name": "scikit-learn", "version": "1.9.0"},
        "input_schema": {"fields": [{"name": "x", "type": "double"}]},
        "output_schema": {"task": "classification", "classes": [0, 1]},
    } | changes


def event_key(event):
    return command_key(event.causation_source, event.data.command_id)


class Lab:
    def __init__(self):
        self.view = View()
        self.ids = itertools.count()
        self.events = []
        self.work = []
        # As the table's partition holds it before it is compacted.
        self.log = []

    def send(self, name, /, *, id=None, now=NOW, **data):
        event = CloudEvent(
            {
                "specversion": "1.0",
                "id": id or f"c{next(self.ids)}",
                "source": "/test",
                "type": f"baton.command.{name}.v1",
                "actor": "ana",
            },
            data,
        )
        try:
            decision = decide(self.view, parse_command(event), now, RULES)
        except InvalidCommandError as invalid:
            decision = reject_invalid(self.view, event, invalid, now)
        return self.take(decision)

    def take(self, decision):
        draft = self.view.overlay()
        for key, record in decision.records:
            draft.put(key, record)
            self.log.append((key, None if record is None else encode_record(record)))
        draft.merge()
        self.events += decision.events
        self.work += decision.verify
        return decision

    def verified(self, checks=OK):
        return self.take(conclude(self.view, self.work.pop(0), checks, NOW))

    def ready(self):
        self.send("create-space", space_id="s", name="S")
        for asset in ("a", "b"):
            self.send("promote-asset", space_id="s", asset_id=asset, manifest=manifest())
        self.send("create-deployment", space_id="s", asset_id="a", name="d")
        self.verified()
        return self.events[-1].data.deployment_id

    def code(self, name, /, **data):
        (event,) = self.send(name, **data).events
        assert event.name is EventName.COMMAND_REJECTED
        return event.data.code


@pytest.fixture
def lab():
    return Lab()


def test_a_deployment_keeps_its_id_and_its_revision_rises_by_one(lab):
    d = lab.ready()
    assert [e.name for e in lab.events[-2:]] == ["update-started", "deployment-created"]
    lab.send("replace-asset", space_id="s", deployment_id=d, asset_id="b", reason="accuracy")
    assert lab.view.deployment(d).status == "updating"
    lab.verified()
    event = lab.events[-1]
    assert event.name == "deployment-updated"
    assert (event.data.before.asset_id, event.data.after.asset_id) == ("a", "b")
    assert (event.data.revision, event.data.actor, event.data.reason) == (2, "ana", "accuracy")
    record = lab.view.deployment(d)
    assert (record.status, record.revision, record.asset.asset_id) == ("deployed", 2, "b")
    assert [entry.revision for entry in record.history] == [1, 2]


def test_a_failed_verification_leaves_the_old_asset_serving(lab):
    d = lab.ready()
    lab.send("replace-asset", space_id="s", deployment_id=d, asset_id="b")
    lab.verified(BAD)
    assert lab.events[-1].name == "update-failed"
    record = lab.view.deployment(d)
    assert (record.status, record.revision, record.asset.asset_id) == ("deployed", 1, "a")


def test_agents_hear_of_a_candidate_once_it_is_verified(lab):
    deployment = lab.ready()
    lab.send("replace-asset", space_id="s", deployment_id=deployment, asset_id="b")
    (work,) = lab.work
    assert not lab.view.deployment(deployment).pending.verified
    lab.take(announce(lab.view, work))
    record = lab.view.deployment(deployment)
    assert (record.pending.verified, record.status, record.revision) == (True, "updating", 1)
    lab.verified()
    assert lab.view.deployment(deployment).revision == 2
    assert announce(lab.view, work) == NOTHING


def test_a_failed_creation_can_be_replaced_or_deleted(lab):
    lab.send("create-space", space_id="s", name="S")
    lab.send("promote-asset", space_id="s", asset_id="a", manifest=manifest())
    lab.send("create-deployment", space_id="s", asset_id="a", name="d")
    lab.verified(BAD)
    d = lab.events[-1].data.deployment_id
    assert lab.view.deployment(d).status == "failed"
    lab.send("replace-asset", space_id="s", deployment_id=d, asset_id="a")
    lab.verified()
    assert lab.view.deployment(d).revision == 1


def test_the_same_command_twice_decides_nothing(lab):
    lab.send("create-space", id="same", space_id="s", name="S")
    again = lab.send("create-space", id="same", space_id="s", name="S")
    assert not again.events
    assert not again.records


def test_rollback_goes_to_the_previous_or_a_named_revision(lab):
    d = lab.ready()
    assert lab.code("rollback-deployment", space_id="s", deployment_id=d) == "no_such_revision"
    lab.send("replace-asset", space_id="s", deployment_id=d, asset_id="b")
    lab.verified()
    lab.send("rollback-deployment", space_id="s", deployment_id=d)
    lab.verified()
    assert lab.events[-1].name == "deployment-rolled-back"
    record = lab.view.deployment(d)
    assert (record.revision, record.asset.asset_id) == (3, "a")
    rejected = lab.code("rollback-deployment", space_id="s", deployment_id=d, to_revision=9)
    assert rejected == "no_such_revision"
    same = lab.code("rollback-deployment", space_id="s", deployment_id=d, to_revision=1)
    assert same == "same_asset"


def test_a_dry_run_reports_and_changes_nothing(lab):
    d = lab.ready()
    before = lab.view.deployment(d)
    decision = lab.send("replace-asset", space_id="s", deployment_id=d, asset_id="b", dry_run=True)
    assert not decision.events
    lab.verified(BAD)
    event = lab.events[-1]
    assert (event.name, event.data.passed, event.data.dry_run) == ("update-checked", False, True)
    assert lab.view.deployment(d) is before


def test_a_dry_run_of_a_deployment_deleted_meanwhile_is_refused(lab):
    deployment = lab.ready()
    lab.send("replace-asset", space_id="s", deployment_id=deployment, asset_id="b", dry_run=True)
    lab.send("delete-deployment", space_id="s", deployment_id=deployment)
    decision = lab.verified()
    (event,) = decision.events
    assert (event.name, event.data.code) == (EventName.COMMAND_REJECTED, "deployment_not_found")
    assert (event.data.deployment_id, event.data.dry_run) == (deployment, True)
    assert dict(decision.records)[f"command/{event_key(event)}"].outcome == "deployment_not_found"
    assert lab.view.remembers(event_key(event))


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("create-space", {"name": "again"}, Code.SPACE_EXISTS),
        ("create-space", {"name": "x", "nmae": 1}, Code.INVALID_COMMAND),
        ("promote-asset", {"asset_id": "a", "manifest": manifest()}, Code.ASSET_EXISTS),
        ("promote-asset", {"manifest": manifest(uri="/etc/x")}, Code.STORE_NOT_ALLOWED),
        ("promote-asset", {"manifest": manifest(uri="/store/../x")}, Code.STORE_NOT_ALLOWED),
        ("create-deployment", {"asset_id": "no", "name": "n"}, Code.ASSET_NOT_FOUND),
        ("create-deployment", {"asset_id": "a", "name": "d"}, Code.DEPLOYMENT_EXISTS),
        ("create-deployment", {"asset_id": "old", "name": "o"}, Code.FRAMEWORK_INCOMPATIBLE),
        ("replace-asset", {"deployment_id": "no", "asset_id": "b"}, Code.DEPLOYMENT_NOT_FOUND),
        ("replace-asset", {"deployment_id": None, "asset_id": "a"}, Code.SAME_ASSET),
        ("replace-asset", {"deployment_id": None, "asset_id": "old"}, Code.FRAMEWORK_INCOMPATIBLE),
        ("replace-asset", {"deployment_id": None, "asset_id": "bare"}, Code.SCHEMA_MISSING),
        ("replace-asset", {"deployment_id": None, "asset_id": "wide"}, Code.SCHEMA_MISMATCH),
        ("replace-asset", {"deployment_id": None, "asset_id": "three"}, Code.OUTPUT_MISMATCH),
        (
            "replace-asset",
            {"deployment_id": None, "asset_id": "b", "expected_revision": 7},
            Code.REVISION_CONFLICT,
        ),
        ("delete-deployment", {"deployment_id": "no"}, Code.DEPLOYMENT_NOT_FOUND),
        ("delete-asset", {"asset_id": "a"}, Code.ASSET_IN_USE),
        ("delete-asset", {"asset_id": "no"}, Code.ASSET_NOT_FOUND),
        ("rollback-deployment", {"deployment_id": None}, Code.NO_SUCH_REVISION),
        ("no-such-command", {}, Code.INVALID_COMMAND),
    ],
)
def test_every_rejection_has_its_code_and_changes_nothing(lab, name, data, code):
    d = lab.ready()
    x = {"name": "x", "type": "double"}
    for asset, changes in {
        "old": {"framework": {"name": "scikit-learn", "version": "1.8.2"}},
        "bare": {"input_schema": None},
        "wide": {"input_schema": {"fields": [x, {"name": "y", "type": "double"}]}},
        "three": {"output_schema": {"task": "classification", "classes": [0, 1, 2]}},
    }.items():
        lab.send("promote-asset", space_id="s", asset_id=asset, manifest=manifest(**changes))
    if data.get("deployment_id", "") is None:
        data = data | {"deployment_id": d}
    before = lab.view.deployment(d)
    assert lab.code(name, space_id="s", **data) == code
    assert lab.view.deployment(d) is before


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "create-space"])
def test_without_its_space_nothing_happens(lab, name):
    data = {"asset_id": "a", "deployment_id": "d", "name": "n", "manifest": manifest()}
    fields = COMMANDS[name].model_fields
    sent = {key: value for key, value in data.items() if key in fields}
    assert lab.code(name, space_id="nowhere", **sent) == "space_not_found"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("replace-asset", {"asset_id": "b"}),
        ("rollback-deployment", {}),
        ("delete-deployment", {}),
    ],
)
def test_a_change_under_way_refuses_the_next(lab, name, data):
    d = lab.ready()
    lab.send("replace-asset", space_id="s", deployment_id=d, asset_id="b")
    assert lab.code(name, space_id="s", deployment_id=d, **data) == "update_in_progress"
    assert lab.code("delete-asset", space_id="s", asset_id="b") == "asset_in_use"


def test_what_was_deleted_never_comes_back(lab):
    d = lab.ready()
    lab.send("delete-deployment", space_id="s", deployment_id=d, expected_revision=1)
    assert lab.view.deployment(d).status == "deleted"
    refused = lab.code("replace-asset", space_id="s", deployment_id=d, asset_id="b")
    assert refused == "deployment_not_found"
    lab.send("delete-asset", space_id="s", asset_id="a")
    again = lab.code("promote-asset", space_id="s", asset_id="a", manifest=manifest())
    assert again == "asset_exists"
    # Its name is free again.
    lab.send("create-deployment", space_id="s", asset_id="b", name="d")
    assert lab.events[-1].name == "update-started"


def test_an_outcome_of_an_earlier_change_is_not_taken_for_a_later_one(lab):
    d = lab.ready()
    lab.send("replace-asset", space_id="s", deployment_id=d, asset_id="b")
    (stale,) = lab.work
    lab.verified(BAD)
    lab.send("replace-asset", space_id="s", deployment_id=d, asset_id="b")
    assert not conclude(lab.view, stale, OK, NOW).events


def test_a_late_verification_fails(lab):
    d = lab.ready()
    lab.send("replace-asset", space_id="s", deployment_id=d, asset_id="b")
    (work,) = lab.work
    assert deadline_check(work, NOW) is None
    assert deadline_check(work, NOW + RULES.update_deadline_ms + 1).name == "time_limit"


def test_commands_are_forgotten_after_seven_days(lab):
    lab.send("create-space", id="one", space_id="s", name="S")
    assert not expire(lab.view, NOW + 6 * DAY).records
    lab.take(expire(lab.view, NOW + 8 * DAY))
    assert lab.code("create-space", id="one", space_id="s", name="S") == "space_exists"


def test_compatible_lets_types_widen_and_fields_go(lab):
    d = lab.ready()
    lab.send(
        "promote-asset",
        space_id="s",
        asset_id="opt",
        manifest=manifest(
            input_schema={
                "fields": [
                    {"name": "x", "type": "double"},
                    {"name": "y", "type": "string", "nullable": True},
                ]
            }
        ),
    )
    assert lab.code("replace-asset", space_id="s", deployment_id=d, asset_id="opt") == (
        "schema_mismatch"
    )
    lab.send(
        "replace-asset", space_id="s", deployment_id=d, asset_id="opt", compatibility="compatible"
    )
    assert lab.events[-1].name == "update-started"
