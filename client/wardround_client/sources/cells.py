"""Cells into numbers, one column at a time.

A file gives text, a database numbers; both mean the same, so that a table gives the same rows from
wherever it is read. Cells are data and nothing else: what begins with "=" is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from wardround_client.sources.errors import Problem
from wardround_client.sources.schema import (
    Boolean,
    Category,
    Feature,
    Label,
    Numeric,
    Value,
    text_of,
)

#: Not Python's rules, which take "1_000", "infinity" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
#: Largest magnitude of float32, in which models are fed.
_LARGEST = float(np.finfo(np.float32).max)
_YES = frozenset({"true", "t", "yes", "y", "1"})
_NO = frozenset({"false", "f", "no", "n", "0"})

MISSING = "missing values"
NOT_A_NUMBER = "not a number"
OUT_OF_RANGE = "a value out of range"
UNKNOWN_CATEGORY = "a category that is not declared"
UNKNOWN_LABEL = "a label that no class has"
NOT_YES_OR_NO = "neither yes nor no"


class _Unfit(Exception):
    """A cell is not what its column declares; carries only in what way."""


@dataclass
class ColumnReader:
    """Reads one declared column, and counts what does not fit.

    Attributes:
        column: its name.
        absent: cells without a value so far.
        faults: rows by what is wrong with them, so far.
    """

    column: str
    _missing: frozenset[str]
    _read: Callable[[object], float]
    absent: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def read(self, cells: Sequence[object]) -> npt.NDArray[np.float64]:
        """Turn cells into numbers: the value, the category's place, the class.

        Returns:
            float64, shape (len(cells),); NaN where there is no value, or none that fits.
        """
        values = np.full(len(cells), math.nan)
        for row, cell in enumerate(cells):
            if self._is_missing(cell):
                self.absent += 1
                continue
            try:
                values[row] = self._read(cell)
            except _Unfit as fault:
                what = fault.args[0]
                self.faults[what] = self.faults.get(what, 0) + 1
        # -0.0 becomes 0.0: rows are compared by their bytes.
        return values + 0.0

    def problems(self, *, missing_is_one: bool) -> list[Problem]:
        """List what was found, without a single value."""
        found = [Problem(self.column, what, rows) for what, rows in sorted(self.faults.items())]
        if missing_is_one and self.absent:
            found.append(Problem(self.column, MISSING, self.absent))
        return found

    def _is_missing(self, cell: object) -> bool:
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return True
        if isinstance(cell, Decimal) and cell.is_nan():
            return True
        return isinstance(cell, str) and cell.strip() in self._missing


def feature_reader(feature: Feature, missing: Sequence[str]) -> ColumnReader:
    """Make the reader of a feature's column."""
    read: Callable[[object], float]
    if isinstance(feature, Numeric):
        read = _numeric(feature)
    elif isinstance(feature, Category):
        read = _Places([[value] for value in feature.categories], UNKNOWN_CATEGORY).of
    else:
        read = _boolean
    return ColumnReader(feature.name, frozenset(missing), read)


def label_reader(label: Label, missing: Sequence[str]) -> ColumnReader:
    """Make the reader of the label's column."""
    return ColumnReader(label.column, frozenset(missing), _Places(label.classes, UNKNOWN_LABEL).of)


def spread(feature: Feature, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Write a column as inputs of the model.

    Args:
        feature: the column's declaration.
        values: float64, shape (n,), without NaN.
    Returns:
        float64, shape (n, feature.width).
    """
    if isinstance(feature, Category):
        chosen: npt.NDArray[np.bool_] = values[:, None] == np.arange(1, len(feature.categories))
        return chosen.astype(np.float64)
    assert isinstance(feature, Numeric | Boolean)
    return values[:, None]


def _number(cell: object) -> float:
    if isinstance(cell, str):
        text = cell.strip()
        if not _NUMBER.fullmatch(text):
            raise _Unfit(NOT_A_NUMBER)
        value = float(text)
    elif isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        try:
            value = float(cell)
        except (OverflowError, ValueError):
            raise _Unfit(OUT_OF_RANGE) from None
    else:
        raise _Unfit(NOT_A_NUMBER)
    if not abs(value) <= _LARGEST:
        raise _Unfit(OUT_OF_RANGE)
    return value


def _numeric(feature: Numeric) -> Callable[[object], float]:
    low, high = feature.range or (-_LARGEST, _LARGEST)

    def read(cell: object) -> float:
        value = _number(cell)
        if not low <= value <= high:
            raise _Unfit(OUT_OF_RANGE)
        return value

    return read


def _boolean(cell: object) -> float:
    if isinstance(cell, str):
        text = cell.strip().lower()
        if text in _YES:
            return 1.0
        if text in _NO:
            return 0.0
        if _NUMBER.fullmatch(text) and float(text) in (0, 1):
            return float(text) + 0.0
    elif isinstance(cell, bool | int | float | Decimal) and cell in (0, 1):
        return float(cell)
    raise _Unfit(NOT_YES_OR_NO)


class _Places:
    """Finds a cell among declared values: by its text, or else by the number that both are."""

    def __init__(self, groups: Sequence[Sequence[Value]], fault: str) -> None:
        self._fault = fault
        self._texts: dict[str, float] = {}
        self._numbers: dict[float, float] = {}
        ambiguous = set()
        for place, group in enumerate(groups):
            for value in group:
                text = text_of(value)
                self._texts[text] = float(place)
                if _NUMBER.fullmatch(text):
                    # "01" and "1" may be two codes; then only the exact text will do.
                    if float(text) in self._numbers:
                        ambiguous.add(float(text))
                    self._numbers[float(text)] = float(place)
        for number in ambiguous:
            del self._numbers[number]

    def of(self, cell: Any) -> float:
        if isinstance(cell, bool | str):
            text = text_of(cell)
            if (place := self._texts.get(text)) is not None:
                return place
            if isinstance(cell, bool) or not _NUMBER.fullmatch(text):
                raise _Unfit(self._fault)
            number = float(text)
        elif isinstance(cell, int | float | Decimal):
            number = float(cell) if -_LARGEST <= cell <= _LARGEST else math.inf
        else:
            raise _Unfit(self._fault)
        found = self._numbers.get(number)
        if found is None:
            raise _Unfit(self._fault)
        return found
