"""Cells into numbers, one column at a time.

A file gives text, a database numbers; both mean the same, so that a table gives the same rows from
wherever it is read. A cell is compared as it is written or as an exact decimal number, never as a
float. Cells are data and nothing else: what begins with "=" is text.
"""

from __future__ import annotations

import datetime
import math
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.exact import number_of, plain_text
from wardround.learning.datasets.people import Digests, digests_of
from wardround_client.sources.errors import Problem
from wardround_client.sources.schema import (
    ALWAYS_MISSING,
    Boolean,
    Category,
    Feature,
    Label,
    Numeric,
    Value,
    text_of,
)

#: Largest magnitude of float32, in which models are fed.
_LARGEST = float(np.finfo(np.float32).max)
_YES = frozenset({"true", "t", "yes", "y"})
_NO = frozenset({"false", "f", "no", "n"})
#: Decimal numbers of more figures than this are spelt with an exponent, like a hostile 1E+999999.
_PLAIN_FIGURES = 400
#: 1,500 is fifteen hundred or one and a half.
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}([.,][0-9]{3})+")
#: What Python may make of a cell that has one spelling as text.
_SPELT = (str, bool, int, float, Decimal, datetime.date, uuid.UUID)

MISSING = "missing values"
NOT_A_NUMBER = "not a number"
OTHER_MARK = {
    ".": 'a number with a decimal comma, which a CSV file with decimal = "," may have',
    ",": 'a number with a decimal point, which a CSV file with decimal = "." may have',
}
OUT_OF_RANGE = "a value out of range"
UNKNOWN_CATEGORY = "a category that is not declared"
UNKNOWN_LABEL = "a label that no class has"
NOT_YES_OR_NO = "neither yes nor no"
NO_GROUP = "neither text nor an exact number to know a patient by"


class _Unfit(Exception):
    """A cell is not what its column declares; carries only in what way."""


class Missing:
    """What a table writes where it has no value."""

    def __init__(self, declared: Sequence[str], mark: str = ".") -> None:
        """Take texts; each that is a number, with the table's decimal mark or a point, means it."""
        self._texts = ALWAYS_MISSING.union(map(plain_text, declared))
        written = ((number_of(text, mark), number_of(text)) for text in declared)
        numbers = (one if one is not None else other for one, other in written)
        self._numbers = frozenset(number for number in numbers if number is not None)

    def holds(self, cell: object, number: Decimal | None) -> bool:
        """Tell whether a cell has no value.

        Args:
            cell: of the table.
            number: that it is; None also among text codes, of which ``09`` and ``9`` are two.
        """
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return True
        if isinstance(cell, Decimal) and cell.is_nan():
            return True
        if number is not None and number in self._numbers:
            return True
        if isinstance(cell, str):
            return plain_text(cell) in self._texts
        return number is None and not self._texts.isdisjoint(_spellings(cell))


@dataclass
class ColumnReader:
    """Reads one declared column, and counts what does not fit.

    Attributes:
        column: its name.
        mark: decimal mark of text; None in a column of text codes, which are no numbers.
        codes: declared texts, which are no numbers in a column of both.
        absent: cells without a value so far.
        faults: rows by what is wrong with them, so far.
    """

    column: str
    mark: str | None
    _missing: Missing
    _read: Callable[[object, Decimal | None], float]
    codes: frozenset[str] = frozenset()
    absent: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def read(self, cells: Sequence[object]) -> npt.NDArray[np.float64]:
        """Turn cells into numbers: the value, the category's place, the class.

        Returns:
            float64, shape (len(cells),); NaN where there is no value, or none that fits.
        """
        values = np.full(len(cells), math.nan)
        for row, cell in enumerate(cells):
            number = self._number(cell)
            if self._missing.holds(cell, number):
                self.absent += 1
                continue
            try:
                values[row] = self._read(cell, number)
            except _Unfit as fault:
                what = fault.args[0]
                self.faults[what] = self.faults.get(what, 0) + 1
        # -0.0 becomes 0.0: rows are compared by their bytes.
        return values + 0.0

    def _number(self, cell: object) -> Decimal | None:
        if self.mark is None or (self.codes and not self.codes.isdisjoint(_spellings(cell))):
            return None
        return number_of(cell, self.mark)

    def problems(self, *, missing_is_one: bool) -> list[Problem]:
        """List what was found, without a single value."""
        found = [Problem(self.column, what, rows) for what, rows in sorted(self.faults.items())]
        if missing_is_one and self.absent:
            found.append(Problem(self.column, MISSING, self.absent))
        return found


@dataclass
class GroupReader:
    """Reads the column that names each row's patient, and counts what names none.

    Attributes:
        column: its name.
        absent: cells without a value so far.
        unfit: cells so far that cannot name a patient.
    """

    column: str
    _mark: str
    _missing: Missing
    absent: int = 0
    unfit: int = 0

    def read(self, cells: Sequence[object]) -> tuple[Digests, npt.NDArray[np.bool_]]:
        """Digest the patients' numbers.

        Returns:
            uint8, shape (len(cells), 32), and of shape (len(cells),) whether a row has a patient.
        """
        missing = [self._missing.holds(cell, number_of(cell, self._mark)) for cell in cells]
        named = np.array([_is_exact(cell) for cell in cells], np.bool_)
        absent = np.array(missing, np.bool_)
        self.absent += int(absent.sum())
        self.unfit += int((~named & ~absent).sum())
        named &= ~absent
        usable = zip(cells, named, strict=True)
        found = digests_of(cell if is_named else "" for cell, is_named in usable)
        return found, named

    def problems(self, *, missing_is_one: bool) -> list[Problem]:
        """List what was found, without a single value."""
        found = [Problem(self.column, NO_GROUP, self.unfit)] if self.unfit else []
        if missing_is_one and self.absent:
            found.append(Problem(self.column, MISSING, self.absent))
        return found


def feature_reader(feature: Feature, missing: Missing, mark: str = ".") -> ColumnReader:
    """Make the reader of a feature's column; ``mark`` is the decimal mark of its text."""
    if isinstance(feature, Numeric):
        return ColumnReader(feature.name, mark, missing, _numeric(feature, mark))
    if isinstance(feature, Category):
        groups = [[value] for value in feature.categories]
        return _places_reader(feature.name, groups, UNKNOWN_CATEGORY, missing, mark)
    return ColumnReader(feature.name, mark, missing, _boolean)


def label_reader(label: Label, missing: Missing, mark: str = ".") -> ColumnReader:
    """Make the reader of the label's column."""
    return _places_reader(label.column, label.classes, UNKNOWN_LABEL, missing, mark)


def _places_reader(
    column: str, groups: Sequence[Sequence[Value]], fault: str, missing: Missing, mark: str
) -> ColumnReader:
    values = [value for group in groups for value in group]
    codes = frozenset(text_of(value) for value in values if isinstance(value, str))
    places = _Places(groups, fault)
    used = None if len(codes) == len(values) else mark
    return ColumnReader(column, used, missing, places.of, codes)


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


def _numeric(feature: Numeric, mark: str) -> Callable[[object, Decimal | None], float]:
    low, high = feature.range or (-_LARGEST, _LARGEST)

    def read(cell: object, number: Decimal | None) -> float:
        if number is None:
            raise _Unfit(_why_no_number(cell, mark))
        value = float(number)
        if not low <= value <= high or not abs(value) <= _LARGEST:
            raise _Unfit(OUT_OF_RANGE)
        return value

    return read


def _why_no_number(cell: object, mark: str) -> str:
    if isinstance(cell, float | Decimal):  # infinite
        return OUT_OF_RANGE
    other = "," if mark == "." else "."
    ambiguous = isinstance(cell, str) and _THOUSANDS.fullmatch(cell.strip())
    return NOT_A_NUMBER if ambiguous or number_of(cell, other) is None else OTHER_MARK[mark]


def _boolean(cell: object, number: Decimal | None) -> float:
    truth = _truth(cell, number)
    if truth is None:
        raise _Unfit(NOT_YES_OR_NO)
    return float(truth)


def _truth(cell: object, number: Decimal | None) -> bool | None:
    """Tell whether a cell means yes or no; None where it means neither."""
    if isinstance(cell, bool):
        return cell
    text = cell.strip().lower() if isinstance(cell, str) else None
    if text in _YES or text in _NO:
        return text in _YES
    return bool(number) if number in (0, 1) else None


class _Places:
    """Finds a cell among declared values.

    What is declared as text is found as the table spells it, so that codes such as 250.1 and 250.10
    stay two. What is declared as a number is found as that number however it is written, and what
    is declared as true or false as the columns of yes and no are read.
    """

    def __init__(self, groups: Sequence[Sequence[Value]], fault: str) -> None:
        self._fault = fault
        self._texts: dict[str, float] = {}
        self._numbers: dict[Decimal, float] = {}
        self._truths: dict[bool, float] = {}
        placed = [(value, float(at)) for at, group in enumerate(groups) for value in group]
        for value, at in placed:
            self._texts[text_of(value)] = at
            if isinstance(value, bool):
                self._truths[value] = at
            elif (number := None if isinstance(value, str) else number_of(value)) is not None:
                self._numbers[number] = at

    def of(self, cell: object, number: Decimal | None) -> float:
        for text in _spellings(cell):
            if (at := self._texts.get(text)) is not None:
                return at
        if number is not None and (at := self._numbers.get(number)) is not None:
            return at
        truth = _truth(cell, number) if self._truths else None
        if truth is not None and (at := self._truths.get(truth)) is not None:
            return at
        raise _Unfit(self._fault)


def _is_exact(cell: object) -> bool:
    """Whether a cell can name a patient: a float only as a whole number that keeps all figures."""
    if isinstance(cell, float):
        return cell.is_integer() and abs(cell) < 2**53
    return isinstance(cell, _SPELT)


def _spellings(cell: object) -> list[str]:
    """Spell a cell as a text file would that holds it."""
    if not isinstance(cell, _SPELT):
        return []
    if isinstance(cell, Decimal) and abs(cell.adjusted()) < _PLAIN_FIGURES:
        return [format(cell, "f")]
    if isinstance(cell, float) and cell.is_integer():
        # Some programs write a point and a zero, and others do not.
        return [repr(cell), str(int(cell))]
    return [plain_text(cell)]
