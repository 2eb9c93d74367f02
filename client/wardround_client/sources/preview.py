"""An outline of a table for its administrator: counts and ranges from which no patient is known.

Every count is rounded, and a small one withheld, because a small count, or the difference of two
exact ones, can identify a person. The ends of a range are not the lowest and the highest value,
which are one patient's each, but values that several patients lie beyond.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from wardround_client.sources.base import Place
from wardround_client.sources.prepare import divide_enough
from wardround_client.sources.rows import read_rows
from wardround_client.sources.schema import Category, Feature, Numeric, text_of
from wardround_client.sources.settings import DataSettings

#: Smaller groups are withheld, and counts are rounded to multiples of it.
SMALLEST_GROUP = 5


def preview(settings: DataSettings, place: Place) -> list[str]:
    """Read a site's table and outline it for people, a line at a time.

    A small group's size is withheld, and a range has several patients beyond each of its ends.

    Raises:
        SourceError: as when it is loaded; rows that do not fit are an error here too.
        DataError: no rows.
    """
    rows = read_rows(settings, place)
    train, test = divide_enough(rows, settings)
    labels = rows.values[:, -1]
    classes = (int((labels == place).sum()) for place in range(len(settings.label.classes)))
    return [
        f"{settings.name}: {about(len(rows))} rows, {about(rows.dropped)} left out",
        *(
            _column(feature, rows.values[:, at], rows.missing[feature.name])
            for at, feature in enumerate(settings.features)
        ),
        f"  classes: {', '.join(f'{at}: {about(count)}' for at, count in enumerate(classes))}",
        *([] if rows.groups is None else [f"  patients: {about(rows.units)}"]),
        f"  {about(len(train))} rows to train on, {about(len(test))} to measure on",
        f"  a study's model must take {settings.width} features",
    ]


def about(count: int) -> str:
    """Write a count for people: rounded, and a small one withheld."""
    near = rounded(count)
    return f"fewer than {SMALLEST_GROUP}" if near is None else f"about {near}"


def rounded(count: int) -> int | None:
    """Round a count to a multiple of `SMALLEST_GROUP`; None for a smaller one, zero included."""
    if count < SMALLEST_GROUP:
        return None
    return SMALLEST_GROUP * ((count + SMALLEST_GROUP // 2) // SMALLEST_GROUP)


def _column(feature: Feature, values: npt.NDArray[np.float64], missing: int) -> str:
    unit = f", {feature.unit}" if isinstance(feature, Numeric) and feature.unit else ""
    parts = [f"  {feature.name} ({feature.type}{unit})"]
    if isinstance(feature, Numeric):
        if ends := _range(values):
            parts.append(f"mostly {ends[0]:g} to {ends[1]:g}")
    else:
        names = ["no", "yes"]
        if isinstance(feature, Category):
            names = [text_of(value) for value in feature.categories]
        parts += [f"{name}: {about(int((values == at).sum()))}" for at, name in enumerate(names)]
    return ", ".join([*parts, f"missing: {about(missing)}"])


def _range(values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Give values that several rows lie beyond, to about two digits of their distance.

    Returns:
        A low and a high value; None for too few rows to tell.
    """
    if len(values) < 2 * SMALLEST_GROUP:
        return None
    ordered = np.sort(values)
    low, high = float(ordered[SMALLEST_GROUP - 1]), float(ordered[-SMALLEST_GROUP])
    size = high - low or abs(low) or 1.0
    step = 10.0 ** (math.floor(math.log10(size)) - 1)
    return float(f"{round(low / step) * step:.12g}"), float(f"{round(high / step) * step:.12g}")
