"""What the console measures and draws, without a broker: bins, places, charts, streams, metrics."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Route

from console import meter as meters
from console.charts import BOTTOM, TOP, WIDTH, Moment, ceiling, chart, marks, path
from console.meter import Meter
from console.metrics import NO_ROUTE, ConsoleMetrics, Metered, method, route
from console.pages.page import about_deployment
from console.pages.traffic import shown
from console.places import KEPT, Places
from console.series import BIN_S, BINS, DELAY_S, WINDOW_S, Rate, Series, end, quantiles
from console.streams import Streams, StreamsFullError
from transport.settings import Settings

# The begin of a bin.
T = 1_700_000_000.0


def now(bins):
    """The moment at which so many bins from T on are whole."""
    return T + bins * BIN_S + DELAY_S


# Bins


def test_a_bin_is_shown_once_it_is_whole():
    series = Series(T)
    for number in range(10):
        series.take(T + number * 0.5, error=number == 0, latency_ms=10 + number)
    assert series.rates(now(1) - 0.1)[-1] == Rate()
    assert end(now(1)) == T + BIN_S
    assert series.rates(now(1))[-1] == Rate(2.0, 0.2, 15.0, 19.0)
    assert len(series.rates(now(1))) == BINS


def test_what_was_not_measured_is_not_zero():
    series = Series(T + 1)
    series.take(T + 6)
    rates = series.rates(now(3))[-3:]
    # The first bin was not followed from its begin.
    assert [rate.requests_s for rate in rates] == [None, 0.2, 0.0]
    assert [rate.p50_ms for rate in rates] == [None, None, None]
    # Over more than is known: over what is.
    assert series.rate(now(3), WINDOW_S) == Rate(0.1, 0.0)
    assert Series().rate(now(3), 60) == Rate()


def test_what_stands_for_more_is_counted_so_and_said():
    series = Series(T)
    series.take(T, stands_for=4.0)
    series.take(T, error=True, stands_for=4.0)
    assert series.rates(now(1))[-1].requests_s == 8 / BIN_S
    assert series.rates(now(1))[-1].errors_s == 4 / BIN_S
    assert series.sampled(now(1))
    assert not series.sampled(now(1) + WINDOW_S)


def test_old_bins_go():
    series = Series(T)
    for number in range(3 * BINS):
        series.take(T + number * BIN_S)
    assert len(series._bins) <= BINS + 2
    assert series.rates(now(3 * BINS))[0].requests_s == 0.2


def test_latencies_take_bounded_room():
    series = Series(T)
    for number in range(100_000):
        series.take(T, latency_ms=number)
    (found,) = series._bins.values()
    assert len(found.latencies_ms) < 500
    rate = series.rates(now(1))[-1]
    assert rate.p50_ms == pytest.approx(50_000, rel=0.05)
    assert rate.p99_ms == pytest.approx(99_000, rel=0.05)


@given(st.lists(st.integers(0, 99), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_the_nearest_rank(values, share):
    expected = sorted(values)[min(int(share * len(values)), len(values) - 1)]
    assert quantiles(Counter(values), share) == [expected]
    assert quantiles(Counter(), share) == [None]


# Places


@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_what_was_read_is_known_exactly(steps):
    places, at_ms, known = Places(), 1000, {}
    for offset, step in enumerate(steps):
        at_ms += step
        places.add(offset, at_ms)
        known[offset] = at_ms
    assert {offset: places.at(offset) for offset in known} == known
    assert places.at(len(steps)) is None
    assert places.at(-1) is None


def test_what_was_passed_over_lies_evenly_in_between():
    places = Places()
    for offset in (10, 11):
        places.add(offset, 1000)
    places.add(111, 1500)
    assert [places.at(offset) for offset in (11, 61, 111)] == [1000, 1250, 1500]


def test_places_are_bounded():
    places = Places()
    for offset in range(2 * KEPT + 10):
        places.add(offset, offset)
    assert places.at(0) is None
    assert places.at(2 * KEPT) == 2 * KEPT
    assert len(places._offsets) <= 2 * KEPT


# The meter, of a consumer that has fetched some


class Fetched:
    """A consumer at whose partitions ``records`` were fetched, of a log that goes on to ``end``."""

    def __init__(self, records, end):
        self.records, self.end, self.at = records, end, 0

    async def position(self, _part):
        return self.at

    async def getmany(self, part, max_records):
        found, self.records = self.records[:max_records], self.records[max_records:]
        self.at += len(found)
        return {part: found} if found else {}

    def last_stable_offset(self, _part):
        return self.end

    def seek(self, _part, offset):
        self.at = offset


def asked(offset):
    return SimpleNamespace(offset=offset, timestamp=int(T * 1000) + offset, headers=[])


def answer(offset, deployment=b"d", took_ms=7, **headers):
    named = {"deployment-id": deployment, "status": b"ok"} | headers
    value = b'{"predictions":[],"request":{"partition":0,"offset":%d}}' % offset
    at_ms = int(T * 1000) + offset + took_ms
    return SimpleNamespace(offset=offset, timestamp=at_ms, headers=list(named.items()), value=value)


@pytest.fixture
async def meter():
    found = Meter(Settings("127.0.0.1:1", data_partitions=1))
    found._task = asyncio.create_task(asyncio.sleep(99))
    found.series("d").since_s = T
    yield found
    await found.stop()


async def test_answers_of_those_who_are_asked_for_are_counted(meter):
    (requests,), (responses,) = meter._requests, meter._responses
    await meter._read(Fetched([asked(n) for n in range(10)], 10), requests, 99)
    answers = [answer(0), answer(1, status=b"error"), answer(2, b"another"), answer(50)]
    await meter._read(Fetched(answers, 4), responses, 99)
    # That of a request which nobody saw has no latency.
    assert meter.series("d").rate(now(1), 5) == Rate(3 / BIN_S, 1 / BIN_S, 7.0, 7.0)
    assert not meter.series("d").sampled(now(1))
    assert meter.measured == 1


async def test_what_is_too_much_is_passed_over_and_estimated(meter):
    (requests,), (responses,) = meter._requests, meter._responses
    for begin in (0, 40):
        fetched = Fetched([asked(begin + n) for n in range(10)], begin + 40)
        fetched.at = begin
        await meter._read(fetched, requests, 10)
        assert fetched.at == begin + 40
    fetched = Fetched([answer(n) for n in range(20, 40)], 100)
    await meter._read(fetched, responses, 10)
    assert fetched.at == 100
    series = meter.series("d")
    # Ten of a hundred; their requests were passed over, in an even stream.
    assert series.rate(now(1), 5) == Rate(100 / BIN_S, 0.0, 7.0, 7.0)
    assert series.sampled(now(1))


async def test_nobody_looks_and_nothing_is_kept(meter, monkeypatch):
    monkeypatch.setattr(meters, "MOST", 2)
    for name in ("e", "f"):
        meter.series(name)
    assert list(meter._watched) == ["e", "f"]
    assert meter._wanted()
    monkeypatch.setattr(meters, "ASKED_S", 0.0)
    assert not meter._wanted()
    assert meter.measured == 0


# Charts


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.3, 1), (1.1, 2), (2, 2), (7, 10), (1000, 1000), (1001, 2000)]
)
def test_the_upper_edge_is_a_round_number(value, top):
    assert ceiling(value) == top


def test_a_path_has_gaps_and_lone_points():
    drawn = path([0.0, 10.0, None, 5.0, None], 10)
    step = WIDTH / 4
    assert drawn == f"M0.0 {BOTTOM}.0h0L{step} {TOP}.0M{3 * step} {(TOP + BOTTOM) / 2}h0"


def test_of_marks_that_are_near_the_newest_has_its_label():
    moments = [Moment(T + s, str(s)) for s in (-1, 0, 40, 90, 92, 101)]
    found = marks(moments, (T, T + 100))
    # What happened just now, behind the last whole bin, lies at the end.
    assert [mark.x for mark in found] == [0.0, 128.0, 288.0, 294.4, 320.0]
    assert [mark.label for mark in found] == ["0", "40", "", "", "101"]
    assert [mark.left for mark in found] == [False, True, True, True, True]


def test_a_chart_says_what_it_shows():
    found = chart("Latency", "ms", {"p50": [3.0, None], "p99": [7.0, 4.0]}, [], (T, T + 5))
    assert (found.top, found.text) == (
        "10",
        "p50: last 3, at most 3 ms; p99: last 4, at most 7 ms",
    )
    assert chart("Latency", "ms", {"p50": [None]}, [], (T, T + 5)).text == "nothing is known yet"


def test_a_page_shows_what_is_known_with_its_marks():
    series = Series(T - WINDOW_S)
    series.take(T + 1, latency_ms=5)
    told = shown(series, [Moment(T + 2, "rev 2"), Moment(T - 2 * WINDOW_S, "rev 1")], now(1))
    assert [c.title for c in told["charts"]] == ["Requests a second", "Errors a second", "Latency"]
    assert all([mark.label for mark in c.marks] == ["rev 2"] for c in told["charts"])
    assert told["told"] == "rev 2 since 22:13:22"
    # No longer ago than what is shown.
    assert told["since"] == told["begin"]
    assert dict(told["rates"])["10 s"] == Rate(0.1, 0.0, 5.0, 5.0)
    assert shown(Series(), [], now(1))["since"] is None


# What renews a page


@pytest.mark.parametrize(
    ("status", "filters"),
    [(None, "deployment_id=d"), ("done", "deployment_id=d"), ("pending", "space_id=a%26b")],
)
def test_a_deployment_s_page_hears_of_its_own_and_of_a_command_that_is_awaited(status, filters):
    record = SimpleNamespace(deployment_id="d", space_id="a&b")
    told = status and SimpleNamespace(status=status)
    assert about_deployment(record, told) == filters


# Streams


def test_so_many_streams_and_no_more():
    streams = Streams(1)
    with streams.place():
        assert streams.open == 1
        with pytest.raises(StreamsFullError, match="BATON_CONSOLE_STREAMS"), streams.place():
            pytest.fail("it was given a place")
    with streams.place():
        pass
    assert streams.open == 0


# Metrics


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ({"path": "/static/console.css"}, "/static/"),
        ({"path": "/nothing"}, NO_ROUTE),
        ({"path": "/a/1", "route": Route("/a/{id}", print)}, "/a/{id}"),
    ],
)
def test_a_route_is_told_by_its_template(scope, name):
    assert route(scope) == name


def test_a_method_that_somebody_made_up_is_told_as_other():
    assert [method({"method": name}) for name in ("GET", "BREW")] == ["GET", "other"]


async def test_every_request_is_counted_once_its_answer_begins():
    metrics = ConsoleMetrics()
    sent = []

    async def app(scope, _receive, send):
        scope["route"] = Route("/a/{id}", print)
        await send({"type": "http.response.start", "status": 201})
        assert metrics.registry.get_sample_value("baton_console_requests_total", labels) == 1
        await send({"type": "http.response.body"})

    async def send(message):
        sent.append(message["type"])

    labels = {"route": "/a/{id}", "method": "POST", "status": "201"}
    scope = {"type": "http", "path": "/a/1", "method": "POST"}
    await Metered(app, metrics)(scope, None, send)
    assert sent == ["http.response.start", "http.response.body"]
    seconds = {"route": "/a/{id}"}
    assert metrics.registry.get_sample_value("baton_console_request_seconds_count", seconds) == 1
