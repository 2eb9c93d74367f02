"""Line charts as SVG, drawn on the server: no script, no inline style, a title on every point.

Colours come from classes (``l0`` and ``f0`` onwards, style.css), so both themes fit. The same
numbers are in a table below each chart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 12, 30
#: Colours in style.css; with more series they repeat, and names tell them apart.
COLOURS = 12
#: Beyond this, points stand too close for a mark on each.
_MARKS_MAX = 60
#: Reports may hold any number; what lies beyond is drawn at these.
_SMALLEST, _LARGEST = 1e-9, 1e300
_MANY_DIGITS = 1e15


@dataclass(frozen=True)
class Series:
    """One line: values by round; a round that is missing breaks nothing."""

    name: str
    values: Mapping[int, float]
    colour: int | None

    @property
    def stroke(self) -> str:
        """The line's class: a colour, or the thick line of all together."""
        return "thick" if self.colour is None else f"l{self.colour % COLOURS}"

    @property
    def fill(self) -> str:
        """The dot's class."""
        return "thick" if self.colour is None else f"f{self.colour % COLOURS}"


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """A straight map from values to pixels; to the middle when all values are one."""
    if high == low:
        return lambda _: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def line_chart(
    title: str, series: Sequence[Series], *, unit: str = "", low: float | None = None
) -> Markup:
    """Draw values by round.

    Args:
        title: what the chart shows, for screen readers.
        series: lines, the last on top.
        unit: behind each number, such as ``%``.
        low: lower end of the axis; by default near the smallest value.
    Returns:
        An SVG element; empty when there is nothing to draw.
    """
    filled = [one for one in series if one.values]
    if not filled:
        return Markup("")
    rounds = [number for one in filled for number in one.values]
    values = [_drawable(value) for one in filled for value in one.values.values()]
    ticks = nice_ticks(min(values) if low is None else low, max(values))
    across = scale(min(rounds), max(rounds), LEFT, WIDTH - RIGHT)
    down = scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}">'
    ]
    for tick in ticks:
        y = f"{down(tick):.1f}"
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text x="{LEFT - 8}" y="{y}" dy="4" text-anchor="end">{shown(tick)}</text>'
        )
    for number in _round_ticks(min(rounds), max(rounds)):
        parts.append(
            f'<text x="{across(number):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{number}</text>'
        )
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT + 2}" text-anchor="end">round</text>')
    parts += [_line(one, across, down, unit) for one in filled]
    parts.append("</svg>")
    return Markup("".join(parts))  # noqa: S704 - names are escaped above and in _line


def _line(
    one: Series, across: Callable[[float], float], down: Callable[[float], float], unit: str
) -> str:
    points = [(across(r), down(_drawable(v)), r, v) for r, v in sorted(one.values.items())]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
    marks = points if len(points) <= _MARKS_MAX else points[-1:]
    dots = "".join(
        f'<circle class="dot {one.fill}" cx="{x:.1f}" cy="{y:.1f}" r="3.4">'
        f"<title>{escape(one.name)}, round {r}: {shown(v)}{escape(unit)}</title></circle>"
        for x, y, r, v in marks
    )
    return f'<polyline class="line {one.stroke}" points="{path}"/>{dots}'


def _drawable(value: float) -> float:
    """A value between those from which an axis overflows, and at which its steps vanish."""
    return 0.0 if abs(value) < _SMALLEST else max(-_LARGEST, min(_LARGEST, value))


def shown(value: float) -> str:
    """Write a number with no more digits than it needs."""
    return f"{value:,.0f}" if 1000 <= abs(value) < _MANY_DIGITS else f"{value:,.4g}"


def nice_ticks(low: float, high: float) -> list[float]:
    """Round values that enclose a range, at least two.

    Source:
        Heckbert 1990, "Nice numbers for graph labels", Graphics Gems.
    """
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = int(low // step)
    last = -int(-high // step)
    return [round(step * number, 10) for number in range(first, last + 1)]


def _round_ticks(first: int, last: int) -> list[int]:
    step = next(
        size * 10**power
        for power in range(10)
        for size in (1, 2, 5)
        if (last - first) / (size * 10**power) <= 12
    )
    ticks = [number for number in range(first, last + 1) if number % step == 0 or number == first]
    # The first and the next may touch.
    if len(ticks) > 1 and ticks[1] - ticks[0] < step / 2:
        ticks.pop(1 if len(ticks) > 2 else 0)
    return ticks
