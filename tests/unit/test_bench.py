"""The benchmarks' arithmetic, and the page that is rendered from what they measured."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from bench import load, report, table
from bench.figures import Spread, percentiles, ratios, steady_rate
from bench.payloads import batonic, stream
from bench.quick import verdict
from bench.rows.replacing import judged
from bench.rows.tables import direct, pipeline
from bench.rows.tables import table as mixed
from transport.settings import Settings

ROOT = Path(__file__).parents[2]


def peer(title, guarantee="exactly once", lacks="replacement"):
    return {"title": title, "guarantee": guarantee, "lacks": lacks}


def latencies(p50, p99):
    return {rate: [{"count": 10, "p50": p50, "p99": p99}] * 2 for rate in ("500", "5000")}


RESULTS = {
    "at": "2026-01-02",
    "took_s": 1234,
    "machine": {"processor": "Abacus", "cores": 2, "memory_gib": 24.0, "system": "Linux 6"},
    "versions": {"Baton": "0.1.0 (abc)", "Kafka Streams: jar": "4.3.1"},
    "errors": {"tables": "ValueError: no table"},
    "rows": {
        "throughput": {
            "peers": {
                "confluent": peer("confluent-kafka by hand"),
                "faust": peer("Faust", "at least once", "transactions"),
                "quix": peer("Quix Streams"),
                "mlserver": peer("MLServer"),
                "kstreams": peer("Kafka Streams"),
                "ceiling": peer("echo"),
            },
            "blocks": {
                "logistic": {
                    "rates": {
                        "baton": [60_000.0, 50_000.0, 70_000.0],
                        "confluent": [30_000.0, 50_000.0, 35_000.0],
                        "faust": [1000.0, 1000.0, 1000.0],
                        "quix": [1000.0, 1000.0, 1000.0],
                        "kstreams": [20_000.0, 20_000.0, 20_000.0],
                        "ceiling": [90_000.0, 90_000.0, 90_000.0],
                    },
                    "errors": {"mlserver": "RuntimeError: it cannot be installed"},
                },
            },
        },
        "latency": {
            "seconds": 8.0,
            "rounds": 2,
            "cases": {
                "exactly_once": latencies(10.0, 30.0),
                "at_least_once": latencies(5.0, 12.0),
                "kstreams": latencies(60.0, 110.0),
                "kstreams-10ms": latencies(12.0, 29.0),
            },
            "errors": {},
        },
        "scaling": {
            "requests": 1000,
            "seconds": {"1": [20.0, 20.0], "2": [21.0, 22.0], "4": [22.0, 20.0]},
        },
    },
}


def row(number):
    return next(row for row in table.ROWS if row.number == number)


def test_a_ratio_is_taken_within_each_round_and_has_a_spread():
    assert ratios([60, 50, 70], [30, 50, 35]) == Spread(2.0, 1.0, 2.0)
    assert ratios([60, 50, 70], [30, 50]) == Spread(1.5, 1.0, 2.0)


def test_a_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one run"):
        Spread.of([])


def test_a_rate_leaves_the_start_out_and_counts_whole_batches():
    # A slow start of two seconds, then 100 records each 100 ms.
    times = [0] * 100 + [2000 + 100 * step for step in range(9) for _ in range(100)]
    assert steady_rate(times) == pytest.approx(1000)
    assert steady_rate(list(reversed(times))) == pytest.approx(1000)


@pytest.mark.parametrize("times", [[], [5], [7] * 100])
def test_a_rate_of_too_few_records_is_refused(times):
    with pytest.raises(ValueError, match=r"no record came|too few"):
        steady_rate(times)


def test_a_request_without_an_answer_counts_as_endless():
    latencies_s = np.array([0.001] * 98 + [np.nan, np.nan])
    assert percentiles(latencies_s) == {"count": 100, "p50": 1.0, "p99": np.inf}


def test_a_load_is_due_as_its_phases_say_whatever_happens():
    due = load.schedule([load.Phase(500, 1.0, rest_s=0.5), load.Phase(5000, 0.01)])
    assert len(due) == 550
    assert due[499] == pytest.approx(0.998)
    assert due[500:].tolist() == pytest.approx([1.5 + 0.002 * (n // 10) for n in range(50)])


def test_what_is_measured_of_a_phase_leaves_its_first_second_out():
    phases = (load.Phase(100, 2.0), load.Phase(100, 3.0))
    due = load.schedule(phases) + 50
    nothing = np.zeros(len(due))
    found = load.Arrivals(due, due + 1, nothing, nothing, nothing, phases)
    kept = due[found.within(1)]
    assert (kept[0], len(kept)) == (pytest.approx(53.0), 200)


def test_an_answer_by_an_older_revision_after_the_event_is_stale():
    phases = (load.Phase(10, 40.0),)
    due = load.schedule(phases)
    revision = np.where(due < 20, 1, 2)
    revision[250] = 1
    read = due + np.where((due >= 18) & (due < 22), 0.03, 0.01)
    read[60] = np.nan
    error = np.zeros(len(due), dtype=bool)
    error[70] = True
    found = judged(load.Arrivals(due, read, revision, error, error, phases), [(19.0, 20.5, 2)])
    assert (found["stale"], found["errors"], found["lost"]) == (1, 1, 1)
    assert found["replaces"][0]["ratio"] == pytest.approx(3.0)


def test_every_deployment_and_row_takes_its_turn_in_a_stream():
    settings = Settings("nowhere:1")
    payloads = batonic(["a", "b"], ["x"], [[1], [2], [3]], size=2)
    assert json.loads(payloads[1][0])["input_data"][0]["values"] == [[3], [1]]
    writes = list(stream(settings, payloads, 6))
    assert [write.partition for write in writes] == [0, 1, 2, 3, 0, 1]
    assert [dict(write.headers)["deployment-id"] for write in writes[:3]] == [b"a", b"b", b"a"]
    assert [dict(write.headers)["request-id"] for write in writes[:2]] == [b"0", b"1"]


def test_the_mixed_table_has_strings_and_missing_values_and_a_pipeline_takes_it():
    frame = mixed().head(300)
    assert frame.isna().to_numpy().any(axis=0).all()
    assert direct(pipeline(frame), frame, size=100, calls=3) > 0


def test_rows_are_reached_missed_or_not_measured():
    assert report.status(row(1), RESULTS) == "reached"
    assert report.status(row(2), RESULTS) == "missed"
    assert report.status(row(3), RESULTS) == "missed"
    assert report.status(row(5), RESULTS) == "not measured"
    assert report.status(row(11), RESULTS) == "reached"


def test_a_row_that_is_missed_wants_an_explanation(monkeypatch):
    monkeypatch.setattr(table, "EXPLANATIONS", {2: "no network", 3: "decoding"})
    assert table.unexplained(RESULTS) == [6, 7]
    monkeypatch.setitem(table.EXPLANATIONS, 6, "see the profile")
    assert table.unexplained(RESULTS) == [7]


def test_the_page_tells_each_claim_with_its_spread_and_its_verdict(monkeypatch):
    monkeypatch.setattr(report, "EXPLANATIONS", {})
    page = report.page(RESULTS, ["throughput.svg"])
    for line in (
        " against confluent-kafka by hand | 2.00x (1.00-2.00) | ≥ 1.2x | reached |",
        " against MLServer |  | ≥ 60x | not measured: RuntimeError: it cannot be installed |",
        (
            "| 5 | a mixed table: rows/s against calling the pipeline directly | | | | "
            "not measured: ValueError: no table |"
        ),
        " the least of p50 and p99 at both rates | 0.97x | ≥ 1x | **missed** |",
        "| Faust | at least once | 1,000 | 60.0 (50.0-70.0) | transactions |",
        "- Row 3: not explained yet.",
        "![scored a second by contestant](performance/throughput.svg)",
        "| Kafka Streams: jar | 4.3.1 |",
    ):
        assert f"{line}\n" in page, line


def test_the_page_and_its_pictures_are_the_same_for_the_same_results(tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        report.write(copy.deepcopy(RESULTS), tmp_path / name)
    assert (tmp_path / "a/performance.md").read_text() == report.page(RESULTS, ["throughput.svg"])
    pictures = [(tmp_path / name / "performance/throughput.svg").read_bytes() for name in "ab"]
    assert pictures[0] == pictures[1]
    assert b"confluent-kafka by hand" in pictures[0] or b"<path" in pictures[0]


@pytest.mark.parametrize(
    ("ratio", "more_is_better", "said"),
    [
        (Spread(1.1, 1.06, 1.2), True, "better"),
        (Spread(1.1, 1.06, 1.2), False, "worse"),
        (Spread(0.9, 0.8, 0.94), False, "better"),
        (Spread(1.1, 1.04, 1.2), True, "no clear difference"),
        (Spread(1.0, 0.9, 1.2), False, "no clear difference"),
    ],
)
def test_only_what_every_round_says_is_a_difference(ratio, more_is_better, said):
    assert verdict(ratio, more_is_better=more_is_better) == said


def test_every_row_of_the_published_results_that_is_missed_is_explained():
    path = ROOT / "docs" / "performance" / "results.json"
    if not path.exists():
        pytest.skip("nothing is published")
    results = json.loads(path.read_text())
    assert table.unexplained(results) == []
    names = [part.name for part in path.parent.glob("*.svg")]
    assert (ROOT / "docs" / "performance.md").read_text() == report.page(results, names)
