"""Where the marks of a page's plots stand: numbers to coordinates, all in units of an SVG."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from experiments.experiment import Errors, Experiment, Pipeline

WIDTH = 720.0
LABELS = 230.0
ROW = 26.0
SIDE = 320.0
MARGIN = 44.0
TICKS = 6
# Of a bar in a table.
BAR = 100.0


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Axis(NamedTuple):
    """Values from ``low`` to ``high`` on a line from ``begin`` to ``end``."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Return where ``value`` stands."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)

    def ticks(self) -> list[Tick]:
        """Return marks at round values: steps of 1, 2 or 5 times a power of ten."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough * 0.999)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [Tick(self.at(n * step), f"{n * step:.10g}") for n in range(first, last + 1)]


class Line(NamedTuple):
    """A pipeline in a plot of a metric: its folds, their mean, and one deviation either way."""

    y: float
    pipeline: Pipeline
    text: str
    mean: float
    left: float
    right: float
    folds: tuple[float, ...]


class MetricPlot(NamedTuple):
    """A metric of all pipelines, the best of the leaderboard on top."""

    metric: str
    height: float
    ticks: list[Tick]
    lines: list[Line]


class Point(NamedTuple):
    """A place, and what stands there."""

    x: float
    y: float
    text: str


class ScatterPlot(NamedTuple):
    """Points in a square or wide plot; ``diagonal`` leads from its first to its second place."""

    width: float
    height: float
    across: list[Tick]
    up: list[Tick]
    points: list[Point]
    diagonal: tuple[Point, Point] | None = None


class Bar(NamedTuple):
    """A metric in a table, from 0 to its column's largest: the mean, one deviation either way."""

    mean: float
    left: float
    right: float


class Cell(NamedTuple):
    """A cell of a confusion matrix; ``share`` of its row, from 0 to 1."""

    rows: int
    share: float


def axis(values: Iterable[float], begin: float, end: float) -> Axis:
    """Return an axis that shows all ``values`` with some room around them."""
    found = list(values)
    low, high = min(found), max(found)
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return Axis(low - room, high + room, begin, end)


def metric_plots(experiment: Experiment) -> list[MetricPlot]:
    """Return a plot of each metric, the one that ranks first."""
    board = _trained(experiment)
    names = sorted(board[0].metrics, key=lambda name: name != experiment.ranked_by)
    return [_metric_plot(name, board) for name in names]


def _metric_plot(name: str, board: Sequence[Pipeline]) -> MetricPlot:
    spreads = [pipeline.metrics[name] for pipeline in board]
    ends = [end for s in spreads for end in (s.mean - s.std, s.mean + s.std, *s.folds)]
    scale = axis(ends, LABELS, WIDTH - 16)
    lines = [
        Line(
            ROW * (index + 1),
            pipeline,
            f"{s.mean:.4g} ± {s.std:.2g}",
            scale.at(s.mean),
            scale.at(s.mean - s.std),
            scale.at(s.mean + s.std),
            tuple(scale.at(fold) for fold in s.folds),
        )
        for index, (pipeline, s) in enumerate(zip(board, spreads, strict=True))
    ]
    return MetricPlot(name, ROW * (len(board) + 2), scale.ticks(), lines)


def bars(experiment: Experiment, metric: str) -> dict[int, Bar]:
    """Return a bar of ``metric`` for each trained pipeline, by its number; below 0 is none."""
    spreads = {found.number: found.metrics[metric] for found in _trained(experiment)}
    scale = BAR / (max(0.0, *(s.mean + s.std for s in spreads.values())) or 1.0)

    def at(value: float) -> float:
        return round(min(max(value * scale, 0.0), BAR), 1)

    return {
        number: Bar(at(s.mean), at(s.mean - s.std), at(s.mean + s.std))
        for number, s in spreads.items()
    }


def speed_plot(experiment: Experiment) -> ScatterPlot:
    """Return the metric that ranks against the time to predict a fold (a logarithmic axis)."""
    board = _trained(experiment)
    times = [math.log10(max(p.predict_s.mean, 1e-6) * 1000) for p in board if p.predict_s]
    values = [pipeline.metrics[experiment.ranked_by].mean for pipeline in board]
    wide, high = axis(times, MARGIN + 20, WIDTH - 16), axis(values, SIDE - MARGIN, 12)
    powers = range(math.floor(wide.low), math.ceil(wide.high) + 1)
    marks = [math.log10(size * 10.0**power) for power in powers for size in (1, 2, 5)]
    across = [Tick(wide.at(m), f"{10**m:.3g}") for m in marks if wide.low <= m <= wide.high]
    points = [
        Point(wide.at(time), high.at(value), str(pipeline.number))
        for pipeline, time, value in zip(board, times, values, strict=True)
    ]
    return ScatterPlot(WIDTH, SIDE, across, high.ticks(), points)


def roc_plot(roc: Sequence[float]) -> ScatterPlot:
    """Return the curve of true against false positive rates, whose points are a line."""
    wide, high = Axis(0, 1, MARGIN, SIDE - 12), Axis(0, 1, SIDE - MARGIN, 12)
    last = len(roc) - 1
    points = [Point(wide.at(i / last), high.at(rate), "") for i, rate in enumerate(roc)]
    points.insert(0, Point(wide.at(0), high.at(0), ""))
    return ScatterPlot(SIDE, SIDE, wide.ticks(), high.ticks(), points, _diagonal(wide, high))


def pairs_plot(pairs: Sequence[tuple[float, float]]) -> ScatterPlot:
    """Return predicted against actual values on the same scale."""
    values = [value for pair in pairs for value in pair]
    wide, high = axis(values, MARGIN + 16, SIDE - 12), axis(values, SIDE - MARGIN, 12)
    points = [Point(wide.at(actual), high.at(guess), "") for actual, guess in pairs]
    return ScatterPlot(SIDE, SIDE, wide.ticks(), high.ticks(), points, _diagonal(wide, high))


def confusion_cells(errors: Errors) -> list[list[Cell]]:
    """Return the confusion matrix with each cell's share of its row."""
    return [[Cell(rows, rows / max(sum(row), 1)) for rows in row] for row in errors.confusion or ()]


def _diagonal(wide: Axis, high: Axis) -> tuple[Point, Point]:
    return Point(wide.begin, high.begin, ""), Point(wide.end, high.end, "")


def _trained(experiment: Experiment) -> list[Pipeline]:
    return [pipeline for pipeline in experiment.leaderboard() if pipeline.error is None]
