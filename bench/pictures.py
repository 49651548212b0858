"""The pictures of docs/performance.md, as SVG."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench.figures import Spread
from bench.table import Results

mpl.use("svg")

from matplotlib import pyplot as plt  # after the backend is chosen

OURS, THEIRS, ACCENT = "#0b6e4f", "#9aa5b1", "#c8553d"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "baton",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
}


def draw(rows: Results, folder: Path) -> list[str]:
    """Draw what was measured; return the names of the files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with plt.rc_context(STYLE):
        for name, (source, picture) in PICTURES.items():
            if source in rows:
                figure = picture(rows)
                # Without a date: the same figures give the same file.
                figure.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
                plt.close(figure)
                made.append(name)
    return made


def _throughput(rows: Results) -> Any:  # noqa: ANN401 - matplotlib's figure
    found = rows["throughput"]
    blocks = found["blocks"]
    bars = [len(block["rates"]) for block in blocks.values()]
    height = 1.2 * len(bars) + 0.22 * sum(bars)
    figure, axes = plt.subplots(
        len(bars), 1, figsize=(7.2, height), height_ratios=bars, squeeze=False
    )
    for axis, (kind, block) in zip(axes[:, 0], blocks.items(), strict=True):
        spreads = {name: Spread.of(rates) for name, rates in block["rates"].items()}
        names = sorted(spreads, key=lambda name: spreads[name].median)
        medians = [spreads[name].median for name in names]
        errors = [
            [spreads[name].median - spreads[name].low for name in names],
            [spreads[name].high - spreads[name].median for name in names],
        ]
        colours = [OURS if name == "baton" else THEIRS for name in names]
        axis.barh(range(len(names)), medians, xerr=errors, color=colours, ecolor="#444", capsize=2)
        axis.set_yticks(range(len(names)), [titled(found, name) for name in names])
        axis.set_xscale("log")
        # Room for the figures at the bars' ends.
        axis.set_xlim(min(medians) / 3, max(medians) * 4)
        for place, name in enumerate(names):
            axis.text(spreads[name].high * 1.1, place, f"{medians[place]:,.0f}", va="center")
        axis.set_title(f"scored a second, {KINDS[kind]} (log scale; whiskers: all rounds)")
    figure.tight_layout()
    return figure


def _replace(rows: Results) -> Any:  # noqa: ANN401
    found = rows["replacing"]
    line = found["timeline"]
    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    axis.plot(line["at_s"], line["worst"], color=ACCENT, lw=1, label="slowest in 100 ms")
    axis.plot(line["at_s"], line["p50"], color=OURS, lw=1.4, label="median in 100 ms")
    axis.axvline(0, color="#444", ls="--", lw=0.8)
    axis.axvline(line["command_s"], color="#444", ls=":", lw=0.8)
    # Room for the words above the lines.
    top = 1.35 * max(line["worst"])
    axis.text(0, top, " deployment-updated", va="top")
    axis.text(line["command_s"], top, "replace-asset ", va="top", ha="right")
    axis.set_ylim(0, top)
    axis.set_xlabel("seconds from the event")
    axis.set_ylabel("latency, ms")
    axis.set_title(f"through a replace by a model of {found['megabytes']} MB, {found['rate']}/s")
    axis.legend(frameon=False, loc="upper right", ncols=1)
    return figure


def _deployments(rows: Results) -> Any:  # noqa: ANN401
    rates = rows["deployments"]["rates"]
    spreads = {int(count): Spread.of(found) for count, found in rates.items()}
    counts = sorted(spreads)
    one = spreads[1].median
    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    middle = [1e6 / spreads[count].median for count in counts]
    low = [1e6 / spreads[count].high for count in counts]
    high = [1e6 / spreads[count].low for count in counts]
    axis.fill_between(counts, low, high, color=OURS, alpha=0.2, lw=0)
    axis.plot(counts, middle, color=OURS, marker="o")
    axis.axhline(1e6 / one / 0.4, color=ACCENT, ls="--", lw=0.8)
    axis.text(counts[0], 1e6 / one / 0.4, "0.4 of the rate of one", va="bottom", color=ACCENT)
    axis.set_xscale("log")
    axis.set_xticks(counts, [f"{count:,}" for count in counts])
    axis.set_ylim(0, 1.15 * max(*high, 1e6 / one / 0.4))
    axis.set_xlabel("deployments mixed in one stream")
    axis.set_ylabel("µs a request")
    axis.set_title("cost of a request against the number of deployments (band: all rounds)")
    return figure


KINDS = {"logistic": "logistic regression of 30 features", "forest": "forest of 100 trees"}
PICTURES = {
    "throughput.svg": ("throughput", _throughput),
    "replace.svg": ("replacing", _replace),
    "deployments.svg": ("deployments", _deployments),
}


def titled(found: Results, name: str) -> str:
    """Return how a contestant is called, with its guarantee where it is weaker than Baton's."""
    if name == "baton":
        return "Baton"
    peer = found["peers"][name]
    weaker = "" if peer["guarantee"] == "exactly once" else f" ({peer['guarantee']})"
    return f"{peer['title']}{weaker}"
