"""The working tree against another commit: the same broker, in turns (A B B A A B).

The other commit's services run from a git worktree of their own; all that measures is of the
working tree, whatever the other commit's bench/ holds.
"""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from bench import load
from bench.commands import commands
from bench.figures import Spread, percentiles, ratios, steady_rate
from bench.machine import ROOT, commit
from bench.models import fitted
from bench.payloads import asking, stream
from bench.rig import Rig, answers, console, fill, remove, rig, service
from bench.seed import deploy
from transport.admin import ensure_topics

ROUNDS = 3
REQUESTS = 200_000
COMMANDS = 8_000
RATE = 500
WARM_S, MEASURED_S = 1.5, 5.0
WARM_KAFKA_S = 6.0
# Less than this, however often, is no reason to look closer.
CLEAR = 0.05
# What is compared: its unit, and whether more is better.
MEASURED = {
    "scored/s, one process, exactly once": ("/s", True),
    "latency at 500/s, exactly once, p50": ("ms", False),
    "latency at 500/s, exactly once, p99": ("ms", False),
    "commands/s, one worker": ("/s", True),
}


@dataclass(frozen=True, slots=True)
class Version:
    """A tree whose services are measured, and its figures round after round, as in MEASURED."""

    title: str
    tree: Path
    found: dict[str, list[float]] = field(default_factory=dict)


def compare(ref: str | None, share: float) -> None:
    """Measure both and print their figures and ratios.

    Without ``ref`` a working tree with changes is compared with its HEAD, one without with HEAD~1.
    """
    if not ref:
        ref = "HEAD" if commit(ROOT).endswith("+") else "HEAD~1"
    with worktree(ref) as other, rig() as (settings, folder):
        versions = (
            Version(f"{ref} ({commit(ROOT, ref)})", other),
            Version(f"working tree ({commit(ROOT)})", ROOT),
        )
        bench = Rig(settings, folder, ROUNDS, share)
        bench.say(f"{versions[1].title} against {versions[0].title}: about 3 min")
        bench.say("warming Kafka up")
        measure(bench, versions[1].tree, "warm", warm_s=bench.seconds(WARM_KAFKA_S))
        for number in range(ROUNDS):
            # A broker that still grows faster favours whoever comes second.
            for version in versions if number % 2 == 0 else versions[::-1]:
                figures = measure(bench, version.tree, f"{versions.index(version)}-{number}")
                for name, value in zip(MEASURED, figures, strict=True):
                    version.found.setdefault(name, []).append(value)
                told = ", ".join(f"{value:,.1f}" for value in figures)
                bench.say(f"round {number + 1} of {ROUNDS}: {version.title}: {told}")
    show(*versions)


@contextlib.contextmanager
def worktree(ref: str) -> Iterator[Path]:
    """Check ``ref`` out in a temporary folder, for as long as the block runs."""
    git = shutil.which("git")
    if git is None:
        raise SystemExit("comparing with another commit needs git")
    with tempfile.TemporaryDirectory(prefix="baton-tree-") as name:
        tree = Path(name) / "tree"
        made = subprocess.run(
            [git, "-C", str(ROOT), "worktree", "add", "--detach", str(tree), ref],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise SystemExit(f"cannot check {ref} out: {made.stderr.strip()}")
        try:
            yield tree
        finally:
            remove_tree = [git, "-C", str(ROOT), "worktree", "remove", "--force", str(tree)]
            subprocess.run(remove_tree, capture_output=True, check=False)


def measure(rig: Rig, tree: Path, name: str, warm_s: float = WARM_S) -> tuple[float, ...]:
    """Return the figures of one round, in the order of MEASURED."""
    settings = rig.fresh(name)
    estimator, frame = fitted("logistic")
    given = rig.size(COMMANDS)
    asyncio.run(ensure_topics(settings.bootstrap_servers, settings.topics))
    asyncio.run(fill(settings, commands(settings, given)))
    with service("worker", settings, rig.folder, wait=False, tree=tree):
        events = asyncio.run(answers(settings, settings.topics.events, given))
        # Through its own worker: its records may look otherwise than this tree's.
        deployment = asyncio.run(deploy(settings, estimator, frame))
    payloads = asking([deployment], frame)
    count = rig.size(REQUESTS)
    asyncio.run(fill(settings, stream(settings, payloads, count)))
    phases = [load.Phase(RATE, warm_s), load.Phase(RATE, rig.seconds(MEASURED_S))]
    with service("scoring", settings, rig.folder, wait=False, tree=tree):
        found = asyncio.run(answers(settings, settings.topics.responses, count))
        with load.running(settings, payloads, phases) as running:
            arrivals = running.arrivals()
    asyncio.run(remove(settings))
    if len(found.times_ms) < count or found.errors or arrivals.error.any():
        raise SystemExit(f"{tree}: requests were not answered, or by errors: no figures")
    latency = percentiles(arrivals.latency_s[arrivals.within(1, skip_s=0.0)])
    # What was read ahead while the model was loaded comes first, and sooner than the rest.
    scored_s = steady_rate(found.times_ms, skipped=0.5)
    applied_s = steady_rate(events.times_ms)
    return scored_s, latency["p50"], latency["p99"], applied_s


def show(other: Version, ours: Version) -> None:
    """Print medians and the ratios within the rounds."""
    table = Table(title=f"{ours.title} against {other.title}", title_justify="left", box=None)
    for heading in ("", "unit", "other", "working tree", "ratio", "lowest", "highest", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, (unit, more) in MEASURED.items():
        medians = (Spread.of(version.found[name]).median for version in (other, ours))
        ratio = ratios(ours.found[name], other.found[name])
        table.add_row(
            name,
            unit,
            *(f"{value:,.1f}" for value in medians),
            *(f"{value:.2f}" for value in (ratio.median, ratio.low, ratio.high)),
            verdict(ratio, more_is_better=more),
        )
    console.print(table)


def verdict(ratio: Spread, *, more_is_better: bool) -> str:
    """Return what a ratio says: only where every round says the same, and clearly."""
    if ratio.high < 1 - CLEAR:
        return "worse" if more_is_better else "better"
    if ratio.low > 1 + CLEAR:
        return "better" if more_is_better else "worse"
    return "no clear difference"
