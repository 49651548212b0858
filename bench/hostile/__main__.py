"""What bad input costs everybody else: latency of bystanders while others send it.

A steady client scores against a good deployment on every partition. In every round each kind of bad
input has a window of its own, with a quiet one before it. What it costs is the bystanders' latency
in its window, over the median of the quiet windows of that round. Told is the median of the rounds,
and the highest. ``(nothing)`` is a window like the others, in which nobody sends what is bad.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from aiokafka import AIOKafkaProducer
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from artifacts.save import save_model
from artifacts.store import Store
from bench.figures import Spread, ratios
from bench.hostile.kinds import Harm, every_kind
from bench.hostile.mailbox import Mailbox
from bench.hostile.senders import Senders
from bench.rig import console, rig, service
from client import BatonClient, ScoringClient
from demo.traffic import Traffic
from transport.settings import Settings

RATE = 300
# The broker's Java is slower in its first minute.
WARM_S = 60.0
WINDOW_S = 3.0
SPACE = "hostile"
GOOD_ROW = [1.0, 0.0, 0.0]
# More than the broker takes: it is to refuse, not the producer.
MAX_REQUEST_BYTES = 64 * 1024**2
WRONG = ("NOTHING", "DEPLOYED", "TAKEN")

# p50 and p99, in ms.
Latency = tuple[float, float]


@dataclass(slots=True)
class Kind:
    """What its senders were told, and the bystanders' latency in its window, by round."""

    told: set[str] = field(default_factory=set)
    latencies: list[Latency] = field(default_factory=list)


@dataclass(slots=True)
class Measured:
    """What was measured: by kind, and the medians of the quiet windows by round."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    quiet: list[Latency] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield name, what was told, and p50 and p99: over the quiet ones, the highest, in ms."""
        for name, kind in self.kinds.items():
            p50, p99 = (
                _cell([ours[at] for ours in kind.latencies], [quiet[at] for quiet in self.quiet])
                for at in (0, 1)
            )
            yield name, " or ".join(sorted(kind.told)), p50, p99


def _cell(ours: Sequence[float], quiet: Sequence[float]) -> str:
    spread = ratios(ours, quiet)
    return f"{spread.median:.1f}x (at most {spread.high:.1f}x), {median(ours):.0f} ms"


def main() -> None:
    """Measure and print; exit status 1 where anyone got no answer, or what is bad was taken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="kinds whose names hold this")
    parser.add_argument("--out", type=Path, help="write the table there too, as Markdown")
    given = parser.parse_args()
    with (
        rig() as (settings, folder),
        service("worker", settings, folder, BATON_VERIFY_TIME_LIMIT_S="3"),
        service("scoring", settings, folder, BATON_PREDICT_TIME_LIMIT_MS="3000"),
    ):
        measured = asyncio.run(run(settings, folder, given.rounds, given.only))
    show(measured)
    if given.out is not None:
        given.out.write_text(markdown(measured))
    told = " ".join(told for kind in measured.kinds.values() for told in kind.told)
    if any(word in told for word in WRONG):
        sys.exit("somebody got no answer, or what is bad was taken")


async def run(settings: Settings, folder: Path, rounds: int, only: str = "") -> Measured:
    """Measure every kind whose name holds ``only``, ``rounds`` times."""
    servers = settings.bootstrap_servers
    async with (
        BatonClient(settings, timeout_s=60.0) as baton,
        ScoringClient(settings, timeout_s=60.0) as scoring,
        AIOKafkaProducer(bootstrap_servers=servers, max_request_size=MAX_REQUEST_BYTES) as plain,
        AIOKafkaProducer(
            bootstrap_servers=servers, max_request_size=MAX_REQUEST_BYTES, compression_type="gzip"
        ) as packing,
        Mailbox(settings).open() as mailbox,
    ):
        senders = Senders(settings, folder, baton, plain, packing, mailbox)
        rows = np.random.default_rng(0).normal(size=(50, 3))
        estimator = LogisticRegression().fit(rows, rows[:, 0] > 0)
        manifest = save_model(estimator, rows[:5], store=Store(settings.store), name="bystanders")
        deployment = await senders.deploy(manifest)
        await baton.create_space(SPACE)
        traffic = Traffic(scoring, deployment, ["x0", "x1", "x2"], [GOOD_ROW], RATE, floor=1)
        measured = Measured()
        traffic.start()
        try:
            console.print(f"warming up for {WARM_S:.0f} s", style="dim")
            await asyncio.sleep(WARM_S)
            for number in range(rounds):
                console.print(f"round {number + 1} of {rounds}")
                quiet = []
                async for name, harm in every_kind(senders, SPACE, deployment, WINDOW_S / 2):
                    if only in name:
                        quiet.append(await measure(traffic, name, harm, measured))
                if not quiet:
                    sys.exit(f"there is no kind whose name holds {only!r}")
                p50, p99 = (median(column) for column in zip(*quiet, strict=True))
                measured.quiet.append((p50, p99))
        finally:
            await traffic.stop()
    errors = [sent.error for sent in traffic.ledger.values() if sent.error is not None]
    if errors:
        sys.exit(f"{len(errors)} of the bystanders' requests got an error: {errors[0]}")
    return measured


async def measure(traffic: Traffic, name: str, harm: Harm, measured: Measured) -> Latency:
    """Look on for a window, then do ``harm`` in another; the bystanders' latency in the first."""
    begun = time.monotonic()
    await asyncio.sleep(WINDOW_S)
    middle = time.monotonic()
    harming = asyncio.ensure_future(harm())
    await asyncio.sleep(WINDOW_S)
    # What takes longer goes on being harm: until its senders are told.
    told = await harming
    end = time.monotonic()
    # Those of the bystanders' requests under way are answered too.
    await traffic.until_answered(RATE)
    (_, *before), (_, *during) = (
        traffic.latencies_ms(begun, middle),
        traffic.latencies_ms(middle, end),
    )
    kind = measured.kinds.setdefault(name, Kind())
    kind.told.add(told)
    kind.latencies.append((during[0], during[1]))
    changes = (f"{a:.0f} -> {b:.0f} ms" for a, b in zip(before, during, strict=True))
    console.print(f"  {name}: {told}; p50, p99 {', '.join(changes)}", style="dim", markup=False)
    return before[0], before[1]


def show(measured: Measured) -> None:
    """Print the table."""
    p50, p99 = (Spread.of(column) for column in zip(*measured.quiet, strict=True))
    table = Table("bad input", "what its sender gets", "p50", "p99", box=None)
    for row in measured.rows():
        table.add_row(*row)
    console.print(table)
    console.print(
        f"bystanders at {RATE}/s; quiet: p50 {p50.median:.1f} ms, p99 {p99.median:.1f} ms"
    )


def markdown(measured: Measured) -> str:
    """Return the table as it stands in docs/reliability.md."""
    lines = ["| bad input | what its sender gets | p50 | p99 |", "|---|---|---|---|"]
    for name, told, *cells in measured.rows():
        said = told if " " in told or told == "-" else f"`{told}`"
        lines.append(f"| {name} | {said} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
