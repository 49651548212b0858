"""Any sequence of commands and verifications: what must hold after each step."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas.events import FINAL, EventName
from schemas.ids import command_key
from schemas.records import AssetRecord, DeploymentRecord, Status
from tests.unit.test_decide import BAD, NOW, OK, Lab, manifest
from worker.lifecycle.outcome import conclude
from worker.lifecycle.view import View

SPACES = st.sampled_from(["s", "s", "s", "t"])
ASSETS = st.sampled_from(["a", "b", "c", "other"])
REVISIONS = st.none() | st.integers(0, 4)
SERVING = {
    EventName.DEPLOYMENT_CREATED,
    EventName.DEPLOYMENT_UPDATED,
    EventName.DEPLOYMENT_ROLLED_BACK,
}


def records(view):
    accepted = [record for record in view._accepted.values() if record is not None]
    return {**view._records, **{f"command/{command_of(record)}": record for record in accepted}}


def command_of(record):
    return command_key(record.source, record.command_id)


class Lifecycle(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.lab = Lab()
        self.deployments = []
        self.sent = 0
        self.concluded = []

    @initialize()
    def begin(self):
        self.send("create-space", space_id="s", name="S")
        for asset in ("a", "b"):
            self.promote("s", asset)
        self.create_deployment("s", "a", "d")

    def send(self, name, /, **data):
        self.sent += 1
        known = f"id{self.sent}"
        told = {key: value for key, value in data.items() if value is not None}
        decision = self.lab.send(name, id=known, **told)
        # A dry run that passes the gate is heard of when it has been verified.
        assert len(decision.events) + len(decision.verify) in {1, 2}
        before = dict(records(self.lab.view).items())
        # The same command again: decided on what the first one left, it decides nothing.
        again = self.lab.send(name, id=known, **told)
        assert (again.events, again.records, again.verify) == ((), (), ())
        assert dict(records(self.lab.view).items()) == before
        for event in decision.events:
            self.heard(event, decision)

    def heard(self, event, decision):
        if event.name == EventName.COMMAND_REJECTED:
            # The outcome is remembered, and nothing else changes.
            assert [key.partition("/")[0] for key, _ in decision.records] == ["command"]
            assert event.data.code
        if event.data.deployment_id and event.data.deployment_id not in self.deployments:
            self.deployments.append(event.data.deployment_id)

    @rule(space=SPACES)
    def create_space(self, space):
        self.send("create-space", space_id=space, name="S")

    @rule(space=SPACES, asset=ASSETS)
    def promote(self, space, asset):
        fields = {"fields": [{"name": "y" if asset == "other" else "x", "type": "double"}]}
        body = manifest(input_schema=fields)
        self.send("promote-asset", space_id=space, asset_id=asset, manifest=body)

    @rule(space=SPACES, asset=ASSETS, name=st.sampled_from(["d", "e"]))
    def create_deployment(self, space, asset, name):
        self.send("create-deployment", space_id=space, asset_id=asset, name=name)

    @rule(
        space=SPACES, asset=ASSETS, which=st.integers(0, 3), expected=REVISIONS, dry=st.booleans()
    )
    def replace(self, space, asset, which, expected, dry):
        self.send(
            "replace-asset",
            space_id=space,
            deployment_id=self.pick(which),
            asset_id=asset,
            expected_revision=expected,
            dry_run=dry,
        )

    @rule(asset=ASSETS, which=st.integers(0, 3))
    def replace_and_verify(self, asset, which):
        self.replace("s", asset, which, None, dry=False)
        self.verify(good=True)

    @rule(space=SPACES, which=st.integers(0, 3), to=REVISIONS)
    def roll_back(self, space, which, to):
        self.send(
            "rollback-deployment", space_id=space, deployment_id=self.pick(which), to_revision=to
        )

    @rule(space=SPACES, which=st.integers(0, 3))
    def delete_deployment(self, space, which):
        self.send("delete-deployment", space_id=space, deployment_id=self.pick(which))

    @rule(space=SPACES, asset=ASSETS)
    def delete_asset(self, space, asset):
        self.send("delete-asset", space_id=space, asset_id=asset)

    @rule(good=st.sampled_from([True, True, False]))
    def verify(self, good):
        if self.lab.work:
            work = self.lab.work.pop(0)
            self.lab.take(conclude(self.lab.view, work, OK if good else BAD, NOW))
            self.concluded.append(work)

    @rule(which=st.integers(0, 9))
    def verify_again(self, which):
        # A worker that was away concludes what another has concluded: no second effect.
        if self.concluded:
            work = self.concluded[which % len(self.concluded)]
            assert conclude(self.lab.view, work, OK, NOW).events == ()

    def pick(self, which):
        return [*self.deployments, "none"][which % (len(self.deployments) + 1)]

    @invariant()
    def revisions_rise_by_one(self):
        revisions = {}
        for event in self.lab.events:
            if event.name in SERVING:
                data = event.data
                assert data.revision == revisions.get(data.deployment_id, 0) + 1
                revisions[data.deployment_id] = data.revision

    @invariant()
    def what_was_deleted_is_never_heard_of_again(self):
        gone = set()
        for event in self.lab.events:
            if event.name != EventName.COMMAND_REJECTED:
                assert event.subject not in gone
            if event.name in {EventName.DEPLOYMENT_DELETED, EventName.ASSET_DELETED}:
                gone.add(event.subject)

    @invariant()
    def state_is_the_fold_of_the_events(self):
        expected = {}
        for event in self.lab.events:
            data = event.data
            match event.name:
                case EventName.ASSET_PROMOTED:
                    expected[event.subject] = False
                case EventName.ASSET_DELETED:
                    expected[event.subject] = True
                case EventName.UPDATE_STARTED | EventName.UPDATE_FAILED:
                    asset = expected.get(event.subject, (None, 0, None))[2]
                    expected[event.subject] = (data.status, data.revision, asset)
                case name if name in SERVING:
                    expected[event.subject] = (data.status, data.revision, data.after.asset_id)
                case EventName.DEPLOYMENT_DELETED:
                    expected[event.subject] = (data.status, data.revision, None)
        found = {}
        for key, record in records(self.lab.view).items():
            if isinstance(record, AssetRecord):
                found[key] = record.deleted
            elif isinstance(record, DeploymentRecord):
                asset = record.asset.asset_id if record.asset else None
                found[key] = (record.status.value, record.revision, asset)
        assert found == expected

    @invariant()
    def a_restart_takes_up_exactly_what_is_pending(self):
        restarted = View()
        for key, record in records(self.lab.view).items():
            restarted.put(key, record)
        keys = {work.command_key for work in restarted.pending_work()}
        assert keys == {work.command_key for work in self.lab.work}

    def teardown(self):
        """What is read from the log knows all that the worker knew which wrote it."""
        restarted = View()
        for key, value in self.lab.log:
            restarted.load(key, value)
        view = self.lab.view
        assert restarted._names == view._names
        assert restarted._commands == view._commands
        assert restarted._accepted == view._accepted
        for asset in restarted._users.keys() | view._users.keys():
            assert restarted.users(asset) == view.users(asset)
        assert restarted._records.keys() == view._records.keys()
        for key, record in view._records.items():
            assert restarted._get(key) == record

    @invariant()
    def what_serves_or_is_awaited_exists(self):
        for record in records(self.lab.view).values():
            if isinstance(record, DeploymentRecord):
                held = [record.asset, record.pending.asset if record.pending else None]
                for asset in filter(None, held):
                    assert not self.lab.view.asset(asset.asset_id).deleted

    @invariant()
    def every_command_has_one_outcome_or_is_awaited(self):
        ended = [e.data.command_id for e in self.lab.events if e.name in FINAL]
        assert len(ended) == len(set(ended))
        assert len(ended) + len(self.lab.work) == self.sent

    @invariant()
    def a_status_says_what_is_under_way(self):
        for record in records(self.lab.view).values():
            if isinstance(record, DeploymentRecord):
                changing = record.status in {Status.UPDATING, Status.INITIALIZING}
                assert changing == (record.pending is not None)
                served = {Status.DEPLOYED, Status.UPDATING}
                # Updating without an asset: a creation that failed is being mended.
                never = {Status.INITIALIZING, Status.FAILED, Status.DELETED, Status.UPDATING}
                assert record.status in (never if record.asset is None else served)


Lifecycle.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestLifecycle = Lifecycle.TestCase
