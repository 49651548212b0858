"""The console's pure parts: settings, cursors, preferences, problems, its own description."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from client.audit import AuditEvent
from client.errors import CommandRejected
from console import feed as feeds
from console.app import create_app
from console.cursor import Cursor, CursorError
from console.feed import Feed
from console.preferences import MAX_SEEN, expected_revision, remember, seen, wait_s
from console.problems import REJECTION_STATUS, SCORING_STATUS, Problem, as_problem
from console.settings import ConsoleSettings
from schemas.checks import Check, Code
from schemas.errors import SettingsError
from schemas.events import EventData, EventName
from schemas.scoring import ScoringCode
from transport.settings import Settings

KAFKA = {"BATON_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


# Settings


def test_alone_it_is_local_and_asks_for_no_token():
    settings = ConsoleSettings.from_env(KAFKA)
    assert (settings.url, settings.is_local, settings.token) == (
        "http://127.0.0.1:8470",
        True,
        None,
    )


@pytest.mark.parametrize("host", ["::", "10.0.0.1", "models.example"])
def test_bound_elsewhere_it_asks_for_a_token_whoever_set_it(host):
    made_up = ConsoleSettings.from_env(KAFKA | {"BATON_CONSOLE_HOST": host})
    assert made_up.token_made_up
    assert len(made_up.token) >= 32
    assert made_up.token not in repr(made_up)
    given = {"BATON_CONSOLE_HOST": host, "BATON_CONSOLE_TOKEN": host}
    assert ConsoleSettings.from_env(KAFKA | given).token == host


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BATON_CONSOLE_PORT", "x"),
        ("BATON_CONSOLE_PORT", "65536"),
        ("BATON_CONSOLE_IN_FLIGHT", "0"),
        ("BATON_CONSOLE_TIMEOUT_MS", "-1"),
        ("BATON_CONSOLE_UPLOAD_MB", "1.5"),
        ("BATON_CONSOLE_STREAMS", "0"),
        ("BATON_METRICS_PORT", "x"),
    ],
)
def test_a_wrong_setting_is_named(name, text):
    with pytest.raises(SettingsError, match=name):
        ConsoleSettings.from_env(KAFKA | {name: text})


# Cursors


@given(st.lists(st.integers(0, 10**17), min_size=1, max_size=8))
def test_a_cursor_comes_back_as_it_went(numbers):
    cursor = Cursor(numbers)
    assert Cursor.parse(str(cursor), len(numbers)) == cursor


@pytest.mark.parametrize(
    "text", ["", "1", "1.2.3", "1.-2", "1.x", "1..2", "\u0661.2", "9" * 30 + ".1"]
)
def test_what_is_no_cursor_of_this_log_is_refused(text):
    with pytest.raises(CursorError, match="no place in this log"):
        Cursor.parse(text, 2)


def test_a_cursor_only_goes_on():
    cursor = Cursor.start(2).past(1, 5)
    assert cursor == (0, 5)
    assert cursor.past(1, 3) == (0, 5)
    assert cursor.within({0: 9, 1: 4}) == (0, 4)


# The feed, of what is at hand


def event(sequence, partition=0, name=EventName.SPACE_CREATED, time="t", **data):
    attributes = {"sequence": str(sequence), "time": time, "causationsource": "/me"}
    data = EventData(command_id=f"c{sequence}", command_type="x", **data)
    return AuditEvent(name, attributes, data, partition, 2 * sequence)


@pytest.fixture
async def feed(monkeypatch):
    monkeypatch.setattr(feeds, "KEPT_EVENTS", 3)
    # Its consumer is never started.
    found = Feed(Settings("127.0.0.1:1", control_partitions=2), "/me", lambda _: None)
    yield found
    await found.stop()


def take(feed, *events):
    for one in events:
        feed._keep(one, 100)


async def test_a_page_waits_for_the_event_that_renewed_it(feed):
    take(feed, event(1))
    await feed.reached(Cursor((1, 0)), 9)
    coming = asyncio.create_task(feed.reached(Cursor((1, 2)), 9))
    for sequence in (1, 2):
        await asyncio.sleep(0)
        assert not coming.done()
        take(feed, event(sequence, 1))
    await coming
    # It may never come: then the page is made without.
    await feed.reached(Cursor((9, 9)), 0.01)


async def test_newest_first_and_as_many_as_asked(feed):
    take(feed, event(1, time="1"), event(2, time="3"), event(1, 1, time="2"))
    found = [(e.partition, e.sequence) for e in feed.newest(2)]
    assert found == [(0, 2), (1, 1)]
    assert [e.partition for e in feed.newest(9, lambda e: e.partition == 1)] == [1]
    assert feed.cursor == (2, 1)


async def test_each_partition_in_its_order_whatever_the_times_say(feed):
    take(feed, event(1, time="9"), event(2, time="1"), event(1, 1, time="5"))
    coming = feed.since(Cursor((0, 0)), idle_s=0)
    found = [await anext(coming) for _ in range(3)]
    assert [e.sequence for e in found if e.partition == 0] == [1, 2]
    assert await anext(coming) is None
    take(feed, event(3))
    assert (await anext(coming)).sequence == 3
    feed.close()
    assert [e async for e in coming] == []


async def test_a_waiter_gets_the_end_of_its_command_and_a_repeat_counts_once(feed):
    with feed.expected("c2") as waiting:
        take(feed, event(1), event(2, name=EventName.UPDATE_STARTED))
        assert not waiting.done()
        take(feed, event(2), event(1))
        assert not waiting.done()
        last = event(3)
        object.__setattr__(last.data, "command_id", "c2")
        take(feed, last)
        assert await asyncio.wait_for(waiting, 1) is last
    # Three are kept: with the event its outcome goes.
    assert feed.outcome("c1") is not None
    take(feed, event(4))
    assert feed.outcome("c1") is None


# Preferences


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("respond-async", None),
        ("wait", 30),
        ("wait=5", 5),
        ("respond-async, wait=10", 10),
        ("wait=100000", 120),
        ("await=5", None),
        ("wait=x", None),
    ],
)
def test_how_long_the_caller_prefers_to_wait(text, seconds):
    assert wait_s(text) == seconds


@pytest.mark.parametrize(("tag", "revision"), [(None, None), ("*", None), ('"4"', 4), (' "0" ', 0)])
def test_a_revision_in_if_match(tag, revision):
    assert expected_revision(tag) == revision


@pytest.mark.parametrize("tag", ["4", 'W/"4"', '"a"', '"1", "2"', ""])
def test_what_no_deployment_has_as_its_tag_never_matches(tag):
    with pytest.raises(Problem, match="412"):
        expected_revision(tag)


def asked_with(cookie):
    headers = [(b"cookie", cookie.encode())] if cookie else []
    return Request({"type": "http", "headers": headers})


def test_a_browser_carries_the_newest_revisions_that_it_was_told():
    cookie = ""
    for number in range(MAX_SEEN + 4):
        response = Response()
        remember(asked_with(cookie), response, f"d{number}", number + 1)
        cookie = response.headers["set-cookie"].partition(";")[0]
    told = seen(asked_with(cookie))
    assert len(told) == MAX_SEEN
    assert told[f"d{MAX_SEEN + 3}"] == MAX_SEEN + 4
    response = Response()
    remember(asked_with(cookie), response, f"d{MAX_SEEN + 3}", 2)
    cookie = response.headers["set-cookie"].partition(";")[0]
    assert seen(asked_with(cookie))[f"d{MAX_SEEN + 3}"] == MAX_SEEN + 4


@pytest.mark.parametrize("cookie", ["", "baton_seen", "baton_seen=x", "a\x00=b; baton_seen=d:-1"])
def test_a_cookie_of_anything_does_no_harm(cookie):
    assert seen(asked_with(cookie)) == {}


# Problems


@pytest.mark.parametrize(
    ("table", "codes"), [(REJECTION_STATUS, Code), (SCORING_STATUS, ScoringCode)]
)
def test_every_code_has_a_status(table, codes):
    assert set(table) == set(codes)
    assert {*table.values()} <= {400, 404, 409, 410, 422, 502, 503, 504}


def test_a_refusal_carries_its_code_and_its_checks():
    check = Check(name="input_schema:age", passed=False, expected="double", hint="rename it")
    refused = event(1, code="schema_mismatch", message="no", checks=(check,))
    problem = as_problem(CommandRejected(refused))
    assert (problem.status_code, problem.code) == (422, "schema_mismatch")
    assert problem.members["checks"] == [check.model_dump(mode="json")]


def test_a_conflict_is_a_failed_precondition_where_a_revision_was_named():
    conflict = CommandRejected(event(1, code="revision_conflict", message="no"))
    assert as_problem(conflict).status_code == 409
    assert as_problem(conflict, conditional=True).status_code == 412


# Its own description


def operations():
    app = create_app(ConsoleSettings(Settings("127.0.0.1:1")), lambda _: None)
    document = app.openapi()
    assert document["openapi"].startswith("3.1")
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found.append(pytest.param(operation, id=f"{method} {path}"))
    return found


@pytest.mark.parametrize("operation", operations())
def test_every_error_is_documented_as_a_problem(operation):
    responses = operation["responses"]
    errors = {status for status in responses if status >= "400"}
    assert {"401", "403", "421", "503"} <= errors
    for status in errors:
        assert list(responses[status]["content"]) == ["application/problem+json"]
    if operation.get("parameters"):
        assert "422" in errors
    assert operation["summary"]
