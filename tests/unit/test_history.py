"""The history checker on made-up histories: a clean one, and one for each broken promise."""

# ruff: noqa: ARG001 - a break changes the notes, the log or both

import json
from dataclasses import replace

import pytest

from tests.chaos.checker import check
from tests.chaos.log import (
    DELETED,
    Answer,
    Command,
    DeadLetter,
    Request,
    StateRecord,
    shown,
)
from tests.chaos.marks import STEP, mark
from tests.chaos.notes import Note, Notebook, read_notes
from tests.chaos.schedule import KINDS, schedule
from tests.unit.histories import SOURCE, TWO, asked, clean, ids, published


def test_a_clean_history_keeps_every_promise():
    verdict = check(*clean())
    assert verdict.holds, str(verdict)
    assert verdict.counts["commands"] == 7
    assert "every promise was kept" in str(verdict)


def without(records, **facts):
    return [r for r in records if not all(getattr(r, n) == v for n, v in facts.items())]


def change(records, where, **facts):
    records[where] = replace(records[where], **facts)


def event(log, where, **data):
    change(log.events, where, data=log.events[where].data | data)


BREACHES = {}


def breaks(*names):
    """Register a change of the clean history that breaks exactly these promises."""

    def register(change):
        BREACHES[change.__name__] = (set(names), change)
        return change

    return register


@breaks("published-command-missing")
def an_acknowledged_command_is_gone(notes, log):
    notes += published("lost", 90, 99)


@breaks(
    "command-without-outcome", "seen-event-missing", "state-unlike-events", "cursor-unlike-topics"
)
def a_command_has_no_outcome(notes, log):
    notes.append(Note(95, "c", "outcome", {**ids("stray"), "event": "command-rejected"}))
    del log.events[-1]


@breaks("command-ended-twice", "cursor-unlike-topics")
def a_command_is_applied_twice(notes, log):
    log.events.append(replace(log.events[-1], offset=9, sequence=10))


@breaks("event-without-command", "state-unlike-events", "cursor-unlike-topics")
def an_event_has_no_command(notes, log):
    log.events.append(replace(log.events[-1], offset=9, sequence=10, id="nobody"))


@breaks("event-before-command")
def an_event_is_seen_before_its_command(notes, log):
    place = {"partition": 0, "sequence": 9, "event": "command-rejected"}
    notes.append(Note(60, "audit", "seen", place))


@breaks("update-not-started-once")
def a_change_ends_that_never_began(notes, log):
    change(log.events, 5, name="space-created", data={"space_id": "t", "name": "t"}, id="space")
    change(log.events, 0, name="update-started", data=log.events[2].data)
    # What it does to everything else is not the point here.


@breaks("commands-out-of-order")
def a_command_overtakes_another(notes, log):
    one, two = log.events[0], log.events[1]
    log.events[0] = replace(two, offset=0, sequence=1)
    log.events[1] = replace(one, offset=1, sequence=2)


@breaks("sequence-gap", "seen-event-missing")
def an_event_is_gone(notes, log):
    change(log.events, 7, sequence=18)


@breaks("revision-gap", "answer-from-the-future", "stale-answer")
def a_revision_is_left_out(notes, log):
    event(log, 6, revision=3)
    notes[:] = [
        replace(n, facts=n.facts | {"value": 3}) if n.at == TWO and n.what == "seen" else n
        for n in notes
    ]


@breaks("dead-letter-missing")
def garbage_leaves_no_trace(notes, log):
    del log.dead_letters[0]


@breaks("dead-letter-twice")
def garbage_is_kept_twice(notes, log):
    log.dead_letters.append(replace(log.dead_letters[1], offset=2))


@breaks("dead-letter-unfounded")
def a_good_request_is_a_dead_letter_too(notes, log):
    log.dead_letters.append(DeadLetter(2, "requests", (0, 0)))


@breaks("command-not-forwarded", "event-without-command", "cursor-unlike-topics")
def a_stray_is_applied_and_not_forwarded(notes, log):
    log.commands = [c for c in log.commands if (c.partition, c.id) != (0, "stray")]


@breaks("command-forwarded-twice", "cursor-unlike-topics")
def a_stray_is_forwarded_twice(notes, log):
    log.commands.append(Command(0, 7, SOURCE, "stray", "replace-asset"))


@breaks("acknowledged-request-missing")
def an_acknowledged_request_is_gone(notes, log):
    notes += asked("r9", 90, 9, 2)[:2]


@breaks("request-unanswered", "seen-answer-missing")
def a_request_has_no_answer(notes, log):
    del log.answers[0]


@breaks("request-answered-twice")
def a_request_has_two_answers(notes, log):
    log.answers.append(replace(log.answers[0], offset=3))


@breaks("answer-without-request")
def nobody_asked(notes, log):
    log.answers.append(replace(log.answers[0], offset=3, id="forged", to=(0, 17), prediction=None))


@breaks("answer-on-another-partition")
def an_answer_goes_elsewhere(notes, log):
    change(log.answers, 0, partition=1)


@breaks("unexpected-answer")
def a_good_request_gets_an_error(notes, log):
    change(log.answers, 0, code="model_error")


@breaks("stale-answer")
def an_answer_is_older_than_an_event_that_was_seen(notes, log):
    log.requests.append(Request(0, 4, "late"))
    log.answers.append(Answer(0, 3, "late", (0, 4), "d", 1, "one"))
    log.committed = {0: 5}
    notes += asked("late", TWO + 1, 4, 1)


@breaks("stale-answer")
def an_answer_is_older_than_another_answer(notes, log):
    notes[:] = [n for n in notes if n.at != TWO or n.what != "seen"]
    log.requests.append(Request(0, 4, "late"))
    log.answers.append(Answer(0, 3, "late", (0, 4), "d", 1, "one"))
    log.committed = {0: 5}
    notes += asked("late", 60, 4, 1)


@breaks("answer-from-the-future")
def an_answer_shows_what_nobody_had_asked_for_yet(notes, log):
    log.requests.append(Request(0, 4, "early"))
    log.answers.append(Answer(0, 3, "early", (0, 4), "d", 2, "two"))
    log.committed = {0: 5}
    # The replace is published at 40.
    notes += asked("early", 37, 4, 2)


@breaks("answer-of-another-asset")
def an_answer_names_another_asset(notes, log):
    change(log.answers, 1, asset="one")


@breaks("answer-of-another-model")
def an_older_model_answers_in_the_name_of_a_newer(notes, log):
    change(log.answers, 0, prediction=log.answers[0].prediction + STEP)


@breaks("answer-of-another-model")
def a_model_answers_that_could_never_be_deployed(notes, log):
    change(log.state, 2, value={"deleted": False, "manifest": {}})


@breaks("answer-of-another-model")
def an_answer_is_to_what_another_asked(notes, log):
    change(log.answers, 0, prediction=mark("r1"))


@breaks("state-unlike-events")
def the_state_is_behind_the_events(notes, log):
    change(log.state, 3, value=log.state[3].value | {"status": "deployed"})


@breaks("state-unlike-events")
def the_state_speaks_of_what_never_was(notes, log):
    log.state.append(StateRecord(0, 99, "space/forged", {"name": "forged"}))


@breaks("state-unlike-events", "change-still-pending")
def a_change_never_ends(notes, log):
    pending = {"asset": {"asset_id": "two"}}
    change(log.state, 3, value=log.state[3].value | {"pending": pending})


@breaks("cursor-went-back")
def the_cursor_goes_back(notes, log):
    log.state.insert(1, StateRecord(0, 0, "cursor", {"offset": 3, "sequence": 1}))


@breaks("offset-went-back")
def the_committed_offset_goes_back(notes, log):
    notes.append(Note(70, "o", "committed", {"partition": 0, "offset": 2}))


@breaks("offset-short-of-end")
def requests_are_left_over(notes, log):
    log.committed = {0: 3}


@pytest.mark.parametrize("name", BREACHES)
def test_the_checker_tells_when(name):
    names, broken = BREACHES[name]
    notes, log = clean()
    broken(notes, log)
    verdict = check(notes, log)
    assert names <= verdict.names, str(verdict)
    # Most breaks break one promise alone.
    if name != "a_change_ends_that_never_began":
        assert verdict.names == names, str(verdict)
    for breach in verdict.breaches:
        assert breach.says
        assert len(breach.shown) <= 6


def test_a_breach_is_shown_by_what_was_seen_and_sent():
    notes, log = clean()
    an_answer_is_older_than_an_event_that_was_seen(notes, log)
    (breach,) = check(notes, log).breaches
    told = str(breach)
    assert "BREACH stale-answer: late was sent 0.0 ms after revision 2 was seen" in told
    assert "audit  seen" in told
    assert "r  ask  id=late" in told


def test_an_answer_shows_a_place_in_the_deployments_life():
    assert shown({"revision": 4, "asset_id": "a"}) == 4
    assert shown({"error": {"code": "deployment_deleted"}}) == DELETED
    assert shown({"error": {"code": "deployment_not_found"}}) < shown(
        {"error": {"code": "deployment_not_ready"}}
    )
    assert shown({"error": {"code": "schema_mismatch"}, "revision": 3}) == 3
    assert shown({"error": {"code": "invalid_request"}}) is None


def test_what_was_noted_before_a_kill_is_kept(tmp_path):
    path = tmp_path / "c.notes"
    book = Notebook("c", path)
    book.note("ask", id="r1")
    with path.open("a") as file:
        file.write(json.dumps({"at": 1, "client": "c"})[:9])
    (note,) = read_notes([path])
    assert (note.client, note.what, note["id"], note["none"]) == ("c", "ask", "r1", None)


def test_a_seed_repeats_its_schedule_and_time_for_all_has_every_kind():
    assert schedule(7, 2.0) == schedule(7, 2.0)
    assert schedule(7, 2.0) != schedule(8, 2.0)
    assert {fault.kind for fault in schedule(7, 4.0)} == {kind for kind, *_ in KINDS}
    assert sum(fault.cost_s for fault in schedule(7, 2.0)) <= 120
    assert len(schedule(7, 0.0)) == 1
    faults = schedule(7, 20.0, brokers=3)
    struck = {fault.victim for fault in faults if fault.kind.endswith("-broker")}
    assert struck == {"broker-1", "broker-2", "broker-3"}


def test_who_answers_at_least_once_may_answer_again_but_not_otherwise():
    notes, log = clean()
    log.answers.append(replace(log.answers[0], offset=3))
    verdict = check(notes, log, once=False)
    assert verdict.holds, str(verdict)
    assert verdict.counts["repeated"] == 1
    log.dead_letters.append(replace(log.dead_letters[1], offset=2))
    assert check(notes, log, once=False).holds
    log.dead_letters.append(replace(log.dead_letters[0], offset=3))
    assert check(notes, log, once=False).names == {"dead-letter-twice"}
    del log.dead_letters[-1]
    # Once more by a newer revision: its command was published after the first answer was seen.
    log.answers.append(replace(log.answers[0], offset=4, value=2, asset="two"))
    assert check(notes, log, once=False).holds
    log.answers.append(replace(log.answers[0], offset=5, prediction=mark("r1")))
    assert check(notes, log, once=False).names == {"answer-of-another-model"}
    faults = schedule(6, 20, once=False)
    assert {fault.kind for fault in faults} == {kind for kind, *_ in KINDS}
    stolen = {fault.victim for fault in faults if fault.kind in {"impostor", "die-in-transaction"}}
    assert stolen == {"worker-1", "worker-2"}
