"""The whole run: the table's rows measured on one broker, printed, and docs/performance.md."""

import argparse
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import quick
from bench.machine import ROOT, machine, versions
from bench.report import show, write
from bench.rig import Rig, rig
from bench.rows import (
    control,
    deployments,
    latency,
    replacing,
    scaling,
    state,
    tables,
    throughput,
    warming,
)
from bench.table import ROWS, unexplained

DOCS = ROOT / "docs"
RESULTS = Path("performance") / "results.json"
# Where figures go that are not of one whole run.
SCRATCH = ROOT / ".baton" / "bench"


@dataclass(frozen=True, slots=True)
class Step:
    """A module that measures rows, and about how long it takes."""

    measure: Callable[[Rig], dict[str, Any]]
    minutes: float


STEPS: Mapping[str, Step] = {
    "throughput": Step(throughput.measure, 9.0),
    "deployments": Step(deployments.measure, 2.0),
    "tables": Step(tables.measure, 1.7),
    "latency": Step(latency.measure, 4.0),
    "replacing": Step(replacing.measure, 1.3),
    "control": Step(control.measure, 1.0),
    "state": Step(state.measure, 1.5),
    "scaling": Step(scaling.measure, 1.7),
}


def main() -> None:
    """Measure; the exit status is 1 where a step failed, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", help="rows to measure, e.g. 1,2,6; docs/ is left as it is")
    parser.add_argument("--quick", action="store_true", help="compare with another commit")
    parser.add_argument("--ref", help="the commit to compare with (with --quick), else the parent")
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="of the full size, to try things out; docs/ is left as it is below 1",
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if given.quick:
        quick.compare(given.ref, given.share)
        return
    steps = wanted(given.only)
    whole = len(steps) == len(STEPS) and given.share >= 1
    results = measured(steps, given.share)
    folder = DOCS if whole else SCRATCH
    path = folder / RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    show(results)
    written = write(results, folder)
    print(f"{written.relative_to(ROOT)} after {results['took_s'] / 60:.1f} min")
    for number in unexplained(results):
        print(f"row {number} is missed, and bench/table.py does not say why")
    if results["errors"]:
        sys.exit("\n".join(f"{name} failed: {text}" for name, text in results["errors"].items()))


def wanted(only: str | None) -> list[str]:
    """Return the steps that measure the rows in ``only``; all where it is None."""
    if only is None:
        return list(STEPS)
    numbers = {int(text) for text in only.split(",")}
    if unknown := numbers - {row.number for row in ROWS}:
        raise SystemExit(f"there is no row {min(unknown)}: rows are 1 to {len(ROWS)}")
    sources = {row.source for row in ROWS if row.number in numbers}
    return [name for name in STEPS if name in sources]


def measured(steps: list[str], share: float) -> dict[str, Any]:
    """Run ``steps`` on one broker and return the results; a step that fails is told in them."""
    begun = time.monotonic()
    results: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%d"),
        "share": share,
        "rounds": 5 if share >= 1 else 2,
        "machine": machine(),
        "rows": {},
        "errors": {},
    }
    expected = warming.MINUTES + sum(STEPS[name].minutes for name in steps)
    with rig() as (settings, folder):
        bench = Rig(settings, folder, results["rounds"], share)
        bench.say(f"{', '.join(steps)}: about {expected * min(share + 0.3, 1):.0f} min in all")
        warming.warm(bench)
        for number, name in enumerate(steps, start=1):
            bench.say(f"step {number} of {len(steps)}: {name}, about {STEPS[name].minutes:g} min")
            own = folder / name
            own.mkdir()
            try:
                results["rows"][name] = STEPS[name].measure(replace(bench, folder=own))
            except Exception as error:  # noqa: BLE001 - the others are measured, and it is told
                traceback.print_exc()
                # One line: it stands in a table.
                told = " ".join(str(error).split())[:200]
                results["errors"][name] = f"{type(error).__name__}: {told}"
                bench.say(f"{name} failed: {results['errors'][name]}")
    results["versions"] = versions()
    results["took_s"] = round(time.monotonic() - begun)
    return results
