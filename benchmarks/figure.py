"""The result of a benchmark: figures with a target, and the parts behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Target:
    """A bound that a figure should keep."""

    bound: float
    at_most: bool

    def __str__(self) -> str:
        """Write it as a reader expects it."""
        return f"{'<=' if self.at_most else '>='} {self.bound:,g}"


@dataclass(frozen=True)
class Figure:
    """Two numbers of one unit side by side, and the ratio that is judged.

    Attributes:
        what: what was measured.
        ours: of wardround.
        unit: of both numbers.
        peer: the figure that it is compared with; None without one.
        peer_name: what that is.
        inverse: the ratio is peer / ours instead of ours / peer.
        target: what the ratio should keep, or ours when ``absolute``.
        absolute: the target speaks of ours, not of the ratio.
    """

    what: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    inverse: bool = False
    target: Target | None = None
    absolute: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times the one is the other; None without a peer."""
        if self.peer is None:
            return None
        return self.peer / self.ours if self.inverse else self.ours / self.peer

    @property
    def met(self) -> bool | None:
        """Whether the target is kept; None where there is none."""
        judged = self.ours if self.absolute else self.ratio
        if self.target is None or judged is None:
            return None
        bound = self.target.bound
        return judged <= bound if self.target.at_most else judged >= bound

    def document(self) -> dict[str, Any]:
        """As a JSON value."""
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "peer_name": self.peer_name,
            "ratio": self.ratio,
            "ratio_of": None if self.peer is None else self.ratio_of,
            "target": None if self.target is None else str(self.target),
            "target_of": None if self.target is None else "ours" if self.absolute else "ratio",
            "met": self.met,
        }

    @property
    def ratio_of(self) -> str:
        """Which number is divided by which."""
        return "peer / ours" if self.inverse else "ours / peer"


@dataclass(frozen=True)
class Detail:
    """A number behind a figure."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Grid:
    """Numbers of one unit in rows and columns.

    Attributes:
        columns: of the rows' names, then of the numbers.
        rows: by name.
        digits: behind the point.
    """

    title: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[float]]
    digits: int

    def cells(self) -> list[list[str]]:
        """All rows as text."""
        return [
            [name, *(f"{value:.{self.digits}f}" for value in values)]
            for name, values in self.rows.items()
        ]


@dataclass(frozen=True)
class Result:
    """What one benchmark found; ``details`` by title."""

    figures: Sequence[Figure]
    details: dict[str, Sequence[Detail]]
    grids: Sequence[Grid] = ()

    def document(self) -> dict[str, Any]:
        """As a JSON value."""
        return {
            "figures": [figure.document() for figure in self.figures],
            "details": {
                title: [{"name": row.name, "value": row.value, "unit": row.unit} for row in rows]
                for title, rows in self.details.items()
            },
            "grids": [
                {"title": grid.title, "columns": list(grid.columns), "rows": dict(grid.rows)}
                for grid in self.grids
            ],
        }


def seconds_of(function: Callable[[], object]) -> float:
    """Wall time of one call, in seconds."""
    started = perf_counter()
    function()
    return perf_counter() - started


def medians_of(repeats: int, *functions: Callable[[], float]) -> list[float]:
    """Measure by turns, so that whatever else the machine does meets all alike.

    Args:
        repeats: turns, >= 1.
        functions: each returns one measurement.
    Returns:
        The median of each function's measurements.
    """
    turns = [[function() for function in functions] for _ in range(repeats)]
    return [median(column) for column in zip(*turns, strict=True)]


def per_part(parts: Iterable[tuple[str, float]], whole: float) -> list[Detail]:
    """List parts of a whole from large to small, and what is left."""
    rows = sorted(parts, key=lambda part: -part[1])
    rest = whole - sum(seconds for _, seconds in rows)
    return [Detail(name, seconds, "s") for name, seconds in [*rows, ("everything else", rest)]]
