"""The table: what each row measures, what it must reach, and why it is missed where it is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.explanations import EXPLANATIONS
from bench.figures import Spread, ratios

Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """One figure that must reach a goal; ``value`` None was not measured, and ``note`` says why."""

    what: str
    value: Spread | None
    goal: float
    unit: str
    at_least: bool = False
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether its median does."""
        if self.value is None:
            return False
        if self.at_least:
            return self.value.median >= self.goal
        return self.value.median <= self.goal


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; ``claims`` reads them from the results of the module ``source``."""

    number: int
    title: str
    source: str
    claims: Callable[[Results], list[Claim]]


def claims(row: Row, results: Results) -> list[Claim]:
    """Return the claims of ``row``; empty where it was not measured."""
    found = results["rows"].get(row.source)
    return [] if found is None else row.claims(found)


def unexplained(results: Results) -> list[int]:
    """Return the rows that were measured, are missed, and have no explanation."""
    return [
        row.number
        for row in ROWS
        if any(not claim.reached for claim in claims(row, results))
        and row.number not in EXPLANATIONS
    ]


def _against(found: Results, goals: Mapping[str, float]) -> list[Claim]:
    block = found["blocks"]["logistic"]
    made = []
    for name, goal in goals.items():
        theirs = block["rates"].get(name)
        value = None if theirs is None else ratios(block["rates"]["baton"], theirs)
        title = found["peers"][name]["title"]
        note = block["errors"].get(name, "")
        made.append(Claim(f"against {title}", value, goal, "x", at_least=True, note=note))
    return made


def _throughput(**goals: float) -> Callable[[Results], list[Claim]]:
    return lambda found: _against(found, goals)


def _mixed(found: Results) -> list[Claim]:
    rates = found["rates"]
    value = ratios(rates["1000"], rates["1"])
    return [Claim("1,000 deployments against one", value, 0.4, "x", at_least=True)]


def _table(found: Results) -> list[Claim]:
    rates = found["rates"]["100"]
    value = ratios(rates["baton"], rates["direct"])
    return [Claim("100-row requests against direct calls", value, 0.5, "x", at_least=True)]


def _latency(name: str, p50: float, p99: float) -> Callable[[Results], list[Claim]]:
    def found_in(found: Results) -> list[Claim]:
        made = []
        for rate, rounds in found["cases"][name].items():
            for which, goal in (("p50", p50), ("p99", p99)):
                value = Spread.of(figures[which] for figures in rounds)
                made.append(Claim(f"{which} at {int(rate):,}/s", value, goal, "ms"))
        return made

    return found_in


def _exactly_once(found: Results) -> list[Claim]:
    made = _latency("exactly_once", 15, 60)(found)
    ours = found["cases"]["exactly_once"]
    for name, title in (
        ("kstreams", "Kafka Streams"),
        ("kstreams-10ms", "Kafka Streams, 10 ms commits"),
    ):
        theirs = found["cases"].get(name)
        value = None
        if theirs is not None:
            values = [
                ratios(_all(theirs[rate], which), _all(ours[rate], which))
                for rate in ours
                for which in ("p50", "p99")
            ]
            value = min(values, key=lambda spread: spread.median)
        what = f"{title}: its latency against Baton's, the least of p50 and p99 at both rates"
        note = found["errors"].get(name, "")
        made.append(Claim(what, value, 1, "x", at_least=True, note=note))
    return made


def _all(rounds: list[Any], which: str) -> list[float]:
    return [figures[which] for figures in rounds]


def _replace(found: Results) -> list[Claim]:
    value = Spread.of(each["ratio"] for each in found["replaces"])
    return [
        Claim("p99 around a replace against steady state", value, 1.5, "x"),
        *(
            Claim(f"{name} answers", Spread.of([found[name]]), 0, "")
            for name in ("errors", "stale", "lost")
        ),
    ]


def _control(found: Results) -> list[Claim]:
    return [
        Claim("commands applied", Spread.of(found["rates"]), 3000, "/s", at_least=True),
        Claim(
            f"command to event at {found['rate']}/s, p50",
            Spread.of([found["latency"]["p50"]]),
            40,
            "ms",
        ),
    ]


def _state(found: Results) -> list[Claim]:
    return [*_state_claims(found)]


def _state_claims(found: Results) -> Iterator[Claim]:
    for module, figures in found["services"].items():
        yield Claim(f"{module}: start to serving", Spread.of(figures["full_s"]), 8, "s")
        bare = Spread.of(figures["empty_bytes"]).median
        each = [(size - bare) / found["deployments"] / 1024 for size in figures["full_bytes"]]
        yield Claim(f"{module}: resident memory of a deployment", Spread.of(each), 2, "KiB")


def _scaling(found: Results) -> list[Claim]:
    rounds = zip(*found["seconds"].values(), strict=True)
    value = Spread.of(max(seconds) / min(seconds) for seconds in rounds)
    return [Claim("the most against the least", value, 1.15, "x")]


ROWS = (
    Row(
        1,
        "scored/s, one process, exactly once, against a loop written by hand",
        "throughput",
        _throughput(confluent=1.2),
    ),
    Row(
        2,
        "… against what people use",
        "throughput",
        _throughput(faust=8, quix=15, mlserver=60, kstreams=2.5),
    ),
    Row(3, "… against the ceiling", "throughput", _throughput(ceiling=0.7)),
    Row(4, "1,000 deployments mixed in one stream", "deployments", _mixed),
    Row(5, "a mixed table: rows/s against calling the pipeline directly", "tables", _table),
    Row(6, "latency, exactly once", "latency", _exactly_once),
    Row(7, "latency, at least once", "latency", _latency("at_least_once", 4, 20)),
    Row(8, "p99 in the 5 s around a replace by a model of 50 MB", "replacing", _replace),
    Row(9, "commands, exactly once, one worker", "control", _control),
    Row(10, "100,000 deployments in the state", "state", _state),
    Row(11, "CPU seconds per million requests, 1, 2 and 4 agents", "scaling", _scaling),
)
