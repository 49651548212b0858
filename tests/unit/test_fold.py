"""The fold of the audit log: what the rules write is what it says, and nothing else is."""

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant

from client.audit import read_event
from client.fold import Fold, difference
from client.verification import _Partition
from schemas.cloudevents import encode
from schemas.records import ACCEPTED, CURSOR_KEY, CursorRecord, Status, encode_record
from tests.unit.test_decide import BAD, NOW, Lab, manifest
from tests.unit.test_lifecycle import Lifecycle
from worker.lifecycle.outcome import announce


class Recorded(Lab):
    """A lab that keeps what a worker would have written, and the clock going."""

    def __init__(self):
        super().__init__()
        self.records = {}
        self.clock = itertools.count(NOW + 123, 7919)

    def send(self, name, /, **data):
        return super().send(name, now=next(self.clock), **data)

    def take(self, decision):
        self.records.update(decision.records)
        return super().take(decision)

    def events_topic(self):
        """The events as they are read from their topic."""
        for number, event in enumerate(self.events, 1):
            headers, value = encode(event.cloudevent(partition=0, sequence=number, topic="events"))
            yield SimpleNamespace(partition=0, offset=number - 1, headers=headers, value=value)

    def state_topic(self):
        """The state as it is read from its topic."""
        yield CURSOR_KEY, encode_record(CursorRecord(offset=0, sequence=len(self.events)))
        for key, record in self.records.items():
            yield key, encode_record(record)


class FoldedLifecycle(Lifecycle):
    def __init__(self):
        super().__init__()
        self.lab = Recorded()

    @invariant()
    def every_record_equals_the_fold(self):
        fold = Fold()
        for record in self.lab.events_topic():
            fold.apply(read_event(record))
        records = {
            key: record.model_dump(mode="json")
            for key, record in self.lab.records.items()
            if not (getattr(record, "trial", None) and record.outcome == ACCEPTED)
        }
        assert set(records) == set(fold.table)
        for key, actual in records.items():
            assert difference(fold.table[key], actual) is None, key


FoldedLifecycle.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestFoldedLifecycle = FoldedLifecycle.TestCase


@pytest.fixture
def lab():
    """A deployment that was replaced, one replace that failed, one that is under way, a dry run."""
    lab = Recorded()
    d = lab.ready()
    replace = {"space_id": "s", "deployment_id": d}
    lab.send("replace-asset", asset_id="b", reason="accuracy", **replace)
    lab.verified()
    lab.send("replace-asset", asset_id="a", **replace)
    lab.verified(BAD)
    lab.send("replace-asset", asset_id="a", dry_run=True, **replace)
    lab.send("replace-asset", asset_id="a", **replace)
    lab.take(announce(lab.view, lab.work[-1]))
    return lab


def verdict(lab, log=None, table=None):
    partition = _Partition(0)
    for key, value in lab.state_topic() if table is None else table:
        partition.take_record(SimpleNamespace(key=key.encode(), value=value))
    for record in lab.events_topic() if log is None else log:
        partition.take_event(record)
    partition.settle()
    return partition.verdict(commands_end=1)


def told(found):
    return [(d.key.partition("/")[0], d.message, d.expected, d.actual) for d in found.differences]


def test_a_true_log_and_state_are_verified(lab):
    found = verdict(lab)
    assert told(found) == []
    assert (found.events, found.records) == (len(lab.events), len(lab.records))


@pytest.mark.parametrize(
    ("kind", "forged"),
    [
        ("deployment", {"status": Status.FAILED}),
        ("deployment", {"revision": 9}),
        ("deployment", {"history": ()}),
        ("deployment", {"name": "other"}),
        ("deployment", {"pending": None}),
        ("asset", {"deleted": True}),
        ("space", {"description": "not what was said"}),
        ("command", {"outcome": "not_this"}),
    ],
)
def test_a_forged_record_is_shown_with_its_key_and_both_values(lab, kind, forged):
    key = next(key for key in lab.records if key.startswith(f"{kind}/"))
    lab.records[key] = lab.records[key].model_copy(update=forged)
    ((found, message, expected, actual),) = told(verdict(lab))
    assert (found, message) == (kind, "the state is not what the events say")
    (member,) = forged
    assert expected[member] != actual[member]
    assert set(expected) == {member}


def test_another_file_under_the_same_asset_is_found(lab):
    key = "asset/a"
    forged = lab.records[key].manifest.model_copy(update={"sha256": "f" * 64})
    lab.records[key] = lab.records[key].model_copy(update={"manifest": forged})
    ((_, _, expected, actual),) = told(verdict(lab))
    assert expected == {"manifest": {"sha256": manifest()["sha256"]}}
    assert actual == {"manifest": {"sha256": "f" * 64}}


def test_a_record_that_no_event_tells_of_is_found(lab):
    lab.records["space/made-up"] = lab.records["space/s"].model_copy()
    ((kind, message, expected, _),) = told(verdict(lab))
    assert (kind, message, expected) == ("space", "the state holds it, no event tells of it", None)


def test_a_record_that_was_taken_away_is_found(lab):
    del lab.records["asset/b"]
    ((kind, message, _, actual),) = told(verdict(lab))
    assert (kind, message) == ("asset", "the events tell of it, the state does not")
    assert actual is None


def test_an_outcome_may_be_forgotten_after_seven_days_and_not_before(lab):
    key = next(key for key in lab.records if key.startswith("command/"))
    del lab.records[key]
    # The lab's clock stands in the year 2027: its outcomes are all young.
    assert [kind for kind, *_ in told(verdict(lab))] == ["command"]
    fold = Fold({key: {"at_ms": NOW}})
    assert fold.may_be_forgotten(key, NOW + 7 * 24 * 3600 * 1000)


def test_a_gap_in_the_log_is_found(lab):
    log = list(lab.events_topic())
    del log[2]
    found = verdict(lab, log)
    assert (found.differences[0].expected, found.differences[0].actual) == (3, 4)
    assert "gap" in found.differences[0].message


def test_an_event_that_the_state_does_not_know_is_found(lab):
    headers, value = encode(
        lab.events[-1].cloudevent(partition=0, sequence=len(lab.events) + 1, topic="events")
    )
    forged = SimpleNamespace(partition=0, offset=99, headers=headers, value=value)
    found = verdict(lab, [*lab.events_topic(), forged])
    assert [d.message for d in found.differences] == [
        "the state and the log end at different events"
    ]


def test_garbage_in_either_topic_is_shown_and_no_traceback(lab):
    garbage = SimpleNamespace(partition=0, offset=99, headers=[], value=b"\xff")
    found = verdict(
        lab, [*lab.events_topic(), garbage], [*lab.state_topic(), ("space/s", b"{"), ("\x00", b"1")]
    )
    assert {d.key for d in found.differences} == {"events@99", "space/s", "\x00"}
