"""Lines over time as SVG: where each point lies. The page's template draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Of a drawing, in its own units; TOP is left for the labels of marks, the foot for the times.
WIDTH, HEIGHT = 320, 120
TOP, BOTTOM = 20, 100
# Labels of marks that are nearer to each other would lie one over the other.
LABEL_WIDTH = 46


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened at ``at_s`` (seconds since 1970), with a short ``label``."""

    at_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line: ``path`` is an SVG path."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at ``x``; without a label where there is no room for one."""

    x: float
    label: str

    @property
    def left(self) -> bool:
        """Whether the label stands left of the line."""
        return self.x >= LABEL_WIDTH


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines below a common ``top`` (the value at the upper edge), and marks; ``text`` says it."""

    title: str
    unit: str
    top: str
    lines: list[Line]
    marks: list[Mark]
    text: str
    width: int = WIDTH
    height: int = HEIGHT
    upper: int = TOP
    lower: int = BOTTOM


def chart(
    title: str,
    unit: str,
    lines: Mapping[str, Sequence[float | None]],
    moments: Sequence[Moment],
    span: tuple[float, float],
) -> Chart:
    """Return a chart of ``lines``: values at even distances over ``span`` (seconds since 1970).

    None is a gap. ``moments`` before the span are left out; one behind it lies at its end.
    """
    most = max((v for values in lines.values() for v in values if v is not None), default=0.0)
    top = ceiling(most)
    drawn = [Line(name, path(values, top)) for name, values in lines.items()]
    return Chart(title, unit, f"{top:g}", drawn, marks(moments, span), _text(unit, lines))


def path(values: Sequence[float | None], top: float) -> str:
    """Return the SVG path of ``values`` below ``top``, which is above 0."""
    step = WIDTH / max(len(values) - 1, 1)
    parts: list[str] = []
    before: float | None = None
    for number, value in enumerate(values):
        if value is not None:
            y = BOTTOM - (BOTTOM - TOP) * min(value / top, 1.0)
            if before is None:
                # Of no length: a point that stands alone is drawn by its round caps.
                parts.append(f"M{number * step:.1f} {y:.1f}h0")
            else:
                parts.append(f"L{number * step:.1f} {y:.1f}")
        before = value
    return "".join(parts)


def marks(moments: Sequence[Moment], span: tuple[float, float]) -> list[Mark]:
    """Return the marks of ``moments``, oldest first; of a crowd the newest has its label."""
    begin, end = span
    found: list[Mark] = []
    free = float(WIDTH)
    for moment in sorted(moments, key=lambda each: each.at_s, reverse=True):
        if moment.at_s < begin:
            break
        x = round(min((moment.at_s - begin) / (end - begin), 1.0) * WIDTH, 1)
        # It ends at its mark, unless that would be left of the drawing.
        right = max(x, float(LABEL_WIDTH))
        if right <= free:
            found.append(Mark(x, moment.label))
            free = right - LABEL_WIDTH
        else:
            found.append(Mark(x, ""))
    return found[::-1]


def ceiling(value: float) -> float:
    """Return the least of 1, 2, 5, 10, 20, … that is no less than ``value``; at least 1."""
    if value <= 1:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(value))
    return next(scale * step for step in (1, 2, 5, 10) if scale * step >= value)


def _text(unit: str, lines: Mapping[str, Sequence[float | None]]) -> str:
    told = []
    for name, values in lines.items():
        known = [value for value in values if value is not None]
        if known:
            told.append(f"{name}: last {known[-1]:.3g}, at most {max(known):.3g} {unit}")
    return "; ".join(told) or "nothing is known yet"
