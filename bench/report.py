"""docs/performance.md and the printed table, rendered from one file of results.

``python -m bench.report`` renders docs/performance/results.json anew, after a change of the texts.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.explanations import EXPLANATIONS
from bench.figures import Spread, ratios
from bench.pictures import KINDS, draw
from bench.rig import console
from bench.table import ROWS, Claim, Results, Row, claims

REACHED, MISSED, UNMEASURED = "reached", "missed", "not measured"


def write(results: Results, folder: Path) -> Path:
    """Write performance.md and its pictures into ``folder``; return the page's path."""
    pictures = draw(results["rows"], folder / "performance")
    path = folder / "performance.md"
    path.write_text(page(results, pictures))
    return path


def show(results: Results) -> None:
    """Print the table."""
    table = Table(box=None, header_style="bold")
    for heading in ("#", "measured", "median", "lowest-highest", "must reach", ""):
        table.add_column(heading, justify="right" if heading == "median" else "left")
    for number, row, claim in _lines(results):
        if claim is None:
            table.add_row(number, row.title, "", "", "", _unmeasured(results, row))
            continue
        cells = _cells(claim.value, claim.unit)
        what = f"{row.title}: {claim.what}" if number else f"  {claim.what}"
        table.add_row(number, what, *cells, _goal(claim), _verdict(claim))
    console.print(table, markup=False)


def page(results: Results, pictures: list[str]) -> str:
    """Return the text of performance.md."""
    rows = results["rows"]
    parts = ["# Performance\n", INTRODUCTION.format(**_facts(results)), *_table(results)]
    parts += _missed(results)
    for source, section in SECTIONS.items():
        if source in rows:
            parts.append("\n".join(section(rows[source])))
            parts += [
                f"![{alt}](performance/{name})\n"
                for name, alt in PICTURES.get(source, {}).items()
                if name in pictures
            ]
    parts += [METHOD, *_machine(results)]
    return "\n".join(parts)


def status(row: Row, results: Results) -> str:
    """Return whether ``row`` is reached, missed or not measured."""
    found = claims(row, results)
    if not found:
        return UNMEASURED
    return REACHED if all(claim.reached for claim in found) else MISSED


def number(value: float) -> str:
    """Return three significant figures, thousands apart."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(found: Spread, unit: str = "") -> str:
    """Return the median with lowest and highest, where there are several."""
    median, between = _cells(found, unit)
    return f"{median} ({between})" if between else median


INTRODUCTION = """\
Measured by `make bench` in one run of {minutes} minutes on one machine ({processor}, {cores} cores, \
{at}); Kafka, \
its clients and whoever is measured share these cores. Medians, in brackets the lowest and the \
highest of all rounds. {count} of {rows} rows are reached.
"""

METHOD = """\
## How it is measured

- One broker (the embedded Apache Kafka, one node) for the whole run; its JVM is warmed up first. \
Every run has topics and groups of its own, which are deleted after it.
- Baton's services are the processes that `baton worker` and `baton scoring` run, with their default \
settings. Peers run in environments of their own, as their documentation recommends, on the same \
broker, topics, payloads and model file, with acks=all.
- Throughput: all requests wait in the topic before a contestant starts. The rate is read from the \
answers' LogAppendTime, the first fifth of them left out (start, first batches, JIT). Rounds are \
interleaved; a ratio is taken within each round. An error among the answers, or a missing one, voids \
the run. Where only Baton is measured, an agent that is ready finds all requests at once (one \
transaction makes them visible), and the time runs from there to the last answer.
- Latency: sender and reader are processes of their own. The sender does not wait for answers; a \
request's latency is from the time it was due to the time a consumer (read_committed) has read its \
answer. Requests fall due in bunches of 2 ms. A request without an answer counts as endless.
- Memory is resident, of a process and all its children. CPU time is user and system time of the same.
"""

PICTURES = {
    "throughput": {"throughput.svg": "scored a second by contestant"},
    "deployments": {"deployments.svg": "cost of a request by number of deployments"},
    "replacing": {"replace.svg": "latency through a replace"},
}


def _facts(results: Results) -> dict[str, Any]:
    reached = sum(status(row, results) == REACHED for row in ROWS)
    minutes = round(results["took_s"] / 60)
    facts = {**results["machine"], "at": results["at"], "minutes": minutes}
    return facts | {"count": reached, "rows": len(ROWS)}


def _lines(results: Results) -> Iterator[tuple[str, Row, Claim | None]]:
    """Yield number (empty behind a row's first line), row and claim; None: not measured."""
    for row in ROWS:
        found: list[Claim | None] = [*claims(row, results)] or [None]
        for place, claim in enumerate(found):
            yield "" if place else str(row.number), row, claim


def _table(results: Results) -> Iterator[str]:
    yield "| # | measured | | result | must reach | |\n|---|---|---|---|---|---|"
    for label, row, claim in _lines(results):
        title = row.title if label else ""
        if claim is None:
            yield f"| {label} | {title} | | | | {_unmeasured(results, row)} |"
            continue
        value = "" if claim.value is None else spread(claim.value, claim.unit)
        yield f"| {label} | {title} | {claim.what} | {value} | {_goal(claim)} | {_verdict(claim)} |"
    yield ""


def _missed(results: Results) -> Iterator[str]:
    missed = [row for row in ROWS if status(row, results) == MISSED]
    if not missed:
        return
    yield "## Why rows are missed\n"
    for row in missed:
        yield f"- Row {row.number}: {EXPLANATIONS.get(row.number, 'not explained yet.')}"
    yield ""


def _throughput(found: Results) -> Iterator[str]:
    yield "## Requests scored a second\n"
    for kind, block in found["blocks"].items():
        yield f"One process, a row of 30 numbers a request: {KINDS[kind]}.\n"
        yield "| | guarantee | scored/s | Baton / this | it lacks |\n|---|---|---|---|---|"
        ours = block["rates"]["baton"]
        yield f"| Baton | exactly once | {spread(Spread.of(ours))} | | |"
        for name, rates in block["rates"].items():
            if name != "baton":
                peer = found["peers"][name]
                figures = f"{spread(Spread.of(rates))} | {spread(ratios(ours, rates))}"
                yield f"| {peer['title']} | {peer['guarantee']} | {figures} | {peer['lacks']} |"
        for name, text in block["errors"].items():
            peer = found["peers"][name]
            yield f"| {peer['title']} | {peer['guarantee']} | {UNMEASURED}: {text} | | |"
        yield ""


def _deployments(found: Results) -> Iterator[str]:
    yield "## Many deployments in one stream\n"
    yield (
        f"Requests go to each deployment in turn; the deployments share {found['assets']} models "
        "at most (an agent runs a process for each model, and keeps 64).\n"
    )
    yield from _by_count("deployments | scored/s", found["rates"])


def _tables(found: Results) -> Iterator[str]:
    yield "## A mixed table\n"
    yield (
        "Five numbers and three strings, a twentieth of the cells missing; a pipeline that imputes, "
        "scales, encodes (ColumnTransformer) and classifies. *Directly*: one thread calls `predict` "
        "and `predict_proba` on a DataFrame of each request's rows, which lies ready in memory; no "
        "JSON and no Kafka. Baton groups the requests of a batch into one call; *in one frame* is "
        "what that could give at most, without JSON and Kafka.\n"
    )
    yield (
        "| rows a request | Baton, rows/s | directly, rows/s | Baton / directly | in one frame, rows/s |\n"
        "|---|---|---|---|---|"
    )
    for size, rates in found["rates"].items():
        ours, theirs = Spread.of(rates["baton"]), Spread.of(rates["direct"])
        ratio = ratios(rates["baton"], rates["direct"])
        whole = Spread.of(rates["whole"])
        yield f"| {size} | {spread(ours)} | {spread(theirs)} | {spread(ratio)} | {spread(whole)} |"
    yield ""


def _latency(found: Results) -> Iterator[str]:
    yield "## Latency\n"
    yield (
        f"Milliseconds, of {number(found['seconds'] - 1)} s at each rate in each of "
        f"{found['rounds']} rounds, after a warm-up of each contestant.\n"
    )
    rates = next(iter(found["cases"].values()))
    heads = [f"{which} at {int(rate):,}/s" for rate in rates for which in ("p50", "p99")]
    yield f"| | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}"
    for name, case in found["cases"].items():
        cells = [
            spread(Spread.of(figures[which] for figures in case[rate]))
            for rate in rates
            for which in ("p50", "p99")
        ]
        yield f"| {LATENCY_NAMES[name]} | {' | '.join(cells)} |"
    for name, text in found["errors"].items():
        yield f"| {LATENCY_NAMES[name]} | {UNMEASURED}: {text} {'| ' * len(heads)}|"
    yield ""


LATENCY_NAMES = {
    "exactly_once": "Baton, exactly once",
    "at_least_once": "Baton, at least once",
    "kstreams": "Kafka Streams, exactly once, its default commit interval",
    "kstreams-10ms": "Kafka Streams, exactly once, commit interval 10 ms",
}


def _replacing(found: Results) -> Iterator[str]:
    steady = found["steady"]
    yield "## Through a replace\n"
    yield (
        f"{found['rate']} requests a second to one deployment, exactly once, while its model is "
        f"replaced {len(found['replaces'])} times, each time by another of {found['megabytes']} MB. "
        f"Steady state: p50 {number(steady['p50'])} ms, p99 {number(steady['p99'])} ms. In the 5 s "
        "around each replace, from before its command to behind its event:\n"
    )
    yield "| replace | command to event | p50 | p99 | p99 / steady |\n|---|---|---|---|---|"
    for place, each in enumerate(found["replaces"], start=1):
        yield (
            f"| {place} | {number(each['took_s'])} s | {number(each['p50'])} ms "
            f"| {number(each['p99'])} ms | {number(each['ratio'])} |"
        )
    yield ""


def _control(found: Results) -> Iterator[str]:
    latency = found["latency"]
    yield "## Commands\n"
    yield (
        f"`create-space`, {found['commands']:,} waiting when the worker starts: "
        f"{spread(Spread.of(found['rates']))} applied a second. At {found['rate']} a second the "
        f"event is read {number(latency['p50'])} ms (p50) and {number(latency['p99'])} ms (p99) "
        "after its command was due.\n"
    )


def _state(found: Results) -> Iterator[str]:
    yield "## Many deployments in the state\n"
    yield (
        f"{found['deployments']:,} deployments of {found['assets']:,} assets in {found['spaces']} "
        f"spaces; a manifest has {found['manifest_bytes'] / 1024:.1f} KiB. The records were written "
        "straight into the state topic, as a worker would have left them once its memory of the "
        "commands has passed (seven days).\n"
    )
    yield (
        "| | serves after, empty state | full state | resident, empty | full |\n|---|---|---|---|---|"
    )
    for module, each in found["services"].items():
        sizes = [
            spread(Spread.of(each[f"{which}_bytes"]).scaled(1 / 1024**2), "MiB")
            for which in ("empty", "full")
        ]
        times = [spread(Spread.of(each[f"{which}_s"]), "s") for which in ("empty", "full")]
        yield f"| {module} | {' | '.join([*times, *sizes])} |"
    yield ""


def _scaling(found: Results) -> Iterator[str]:
    yield "## CPU time with more agents\n"
    yield (
        f"{found['requests']:,} requests that become visible at once to agents that are ready; CPU "
        "seconds of the agents and their models, per million requests.\n"
    )
    yield from _by_count("agents | CPU seconds", found["seconds"])


def _by_count(heads: str, figures: Mapping[str, list[float]]) -> Iterator[str]:
    yield f"| {heads} |\n|---|---|"
    for count, values in figures.items():
        yield f"| {int(count):,} | {spread(Spread.of(values))} |"
    yield ""


SECTIONS = {
    "throughput": _throughput,
    "deployments": _deployments,
    "tables": _tables,
    "latency": _latency,
    "replacing": _replacing,
    "control": _control,
    "state": _state,
    "scaling": _scaling,
}


def _machine(results: Results) -> Iterator[str]:
    machine = results["machine"]
    yield "## Machine and versions\n"
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}.\n"
    )
    yield "| | |\n|---|---|"
    for name, text in results["versions"].items():
        yield f"| {name} | {text} |"
    yield ""


def _cells(found: Spread | None, unit: str) -> tuple[str, str]:
    """Return the median, and lowest to highest where there are several; empty: not measured."""
    if found is None:
        return "", ""
    median = f"{number(found.median)}{_unit(unit)}"
    return median, "" if found.low == found.high else f"{number(found.low)}-{number(found.high)}"


def _goal(claim: Claim) -> str:
    if claim.goal == 0:
        return "0"
    return f"{'≥' if claim.at_least else '≤'} {claim.goal:,g}{_unit(claim.unit)}"


def _unit(unit: str) -> str:
    return unit if unit in {"", "x", "/s"} else f" {unit}"


def _verdict(claim: Claim) -> str:
    if claim.value is None:
        return f"{UNMEASURED}: {claim.note}" if claim.note else UNMEASURED
    return REACHED if claim.reached else f"**{MISSED}**"


def _unmeasured(results: Results, row: Row) -> str:
    error = results["errors"].get(row.source)
    return f"{UNMEASURED}: {error}" if error else UNMEASURED


if __name__ == "__main__":
    docs = Path(__file__).parents[1] / "docs"
    print(write(json.loads((docs / "performance" / "results.json").read_text()), docs))
