"""An outline of a table for its administrator: counts and ranges from which no patient is known.

Every count is rounded, and a small one withheld, because a small count, or the difference of two
exact ones, can identify a person. The ends of a range are not the lowest and the highest value,
which are one patient's each, but values that several patients lie beyond.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardround_client.sources.base import Place
from wardround_client.sources.rows import read_rows
from wardround_client.sources.schema import Category, Feature, Numeric, text_of
from wardround_client.sources.settings import DataSettings

#: Smaller groups are withheld, and counts are rounded to multiples of it.
SMALLEST_GROUP = 5


@dataclass(frozen=True)
class ColumnPreview:
    """One feature.

    Attributes:
        name: of the column.
        kind: type, and unit if there is one.
        missing: rows without a value, rounded; None for fewer than `SMALLEST_GROUP`.
        low: a value that at least `SMALLEST_GROUP` rows do not exceed, rounded; None if not
            numeric, or too few rows to tell.
        high: a value that at least so many rows reach, rounded; None likewise.
        counts: rows by category, rounded, None for a small group; empty if numeric.
    """

    name: str
    kind: str
    missing: int | None
    low: float | None
    high: float | None
    counts: dict[str, int | None]


@dataclass(frozen=True)
class Preview:
    """A table in outline.

    Attributes:
        table: its name.
        rows: usable rows, rounded; None for a small group.
        dropped: rows with a missing value, rounded; None likewise.
        columns: the features in order.
        classes: rows by class, rounded; None for a small group.
        numbers: features that a model gets of each row; a category is several.
    """

    table: str
    rows: int | None
    dropped: int | None
    columns: tuple[ColumnPreview, ...]
    classes: tuple[int | None, ...]
    numbers: int

    def lines(self) -> Iterator[str]:
        """Write it for people, a line at a time."""
        yield f"{self.table}: {_told(self.rows)} rows, {_told(self.dropped)} left out"
        for column in self.columns:
            parts = [f"  {column.name} ({column.kind})"]
            if column.low is not None and column.high is not None:
                parts.append(f"mostly {column.low:g} to {column.high:g}")
            parts += [f"{name}: {_told(count)}" for name, count in column.counts.items()]
            parts.append(f"missing: {_told(column.missing)}")
            yield ", ".join(parts)
        counts = ", ".join(f"{at}: {_told(count)}" for at, count in enumerate(self.classes))
        yield f"  classes: {counts}"
        yield f"  a study's model must take {self.numbers} features"


def preview(settings: DataSettings, place: Place) -> Preview:
    """Read a site's table and outline it.

    Raises:
        SourceError: as when it is loaded; rows that do not fit are an error here too.
        DataError: no rows.
    """
    rows = read_rows(settings, place)
    labels = rows.values[:, -1]
    return Preview(
        table=settings.name,
        rows=rounded(len(rows)),
        dropped=rounded(rows.dropped),
        columns=tuple(
            _column(feature, rows.values[:, at], rows.missing[feature.name])
            for at, feature in enumerate(settings.features)
        ),
        classes=tuple(
            rounded(int((labels == place).sum())) for place in range(len(settings.label.classes))
        ),
        numbers=settings.width,
    )


def rounded(count: int) -> int | None:
    """Round a count to a multiple of `SMALLEST_GROUP`; None for a smaller one, zero included."""
    if count < SMALLEST_GROUP:
        return None
    return SMALLEST_GROUP * ((count + SMALLEST_GROUP // 2) // SMALLEST_GROUP)


def _column(feature: Feature, values: npt.NDArray[np.float64], missing: int) -> ColumnPreview:
    low = high = None
    counts: dict[str, int | None] = {}
    kind: str = feature.type
    if isinstance(feature, Numeric):
        kind = f"{feature.type}, {feature.unit}" if feature.unit else feature.type
        low, high = _range(values)
    else:
        names = ["no", "yes"]
        if isinstance(feature, Category):
            names = [text_of(value) for value in feature.categories]
        counts = {name: rounded(int((values == at).sum())) for at, name in enumerate(names)}
    return ColumnPreview(feature.name, kind, rounded(missing), low, high, counts)


def _range(values: npt.NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Give values that several rows lie beyond, to about two digits of their distance."""
    if len(values) < 2 * SMALLEST_GROUP:
        return None, None
    ordered = np.sort(values)
    low, high = float(ordered[SMALLEST_GROUP - 1]), float(ordered[-SMALLEST_GROUP])
    size = high - low or abs(low) or 1.0
    step = 10.0 ** (math.floor(math.log10(size)) - 1)
    return tuple(float(f"{round(end / step) * step:.12g}") for end in (low, high))  # type: ignore[return-value]


def _told(count: int | None) -> str:
    return f"fewer than {SMALLEST_GROUP}" if count is None else f"about {count}"
