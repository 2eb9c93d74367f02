from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.sources.tables import SECRET
from wardround_client.sources import cells
from wardround_client.sources.cells import Missing, feature_reader, label_reader, spread
from wardround_client.sources.schema import Boolean, Category, Label, Numeric

NUMBER = Numeric(name="n", type="numeric")
AGE = Numeric(name="age", type="numeric", range=[0, 120])
YES = Boolean(name="b", type="boolean")


def read(feature: Any, *column: object, missing: tuple[str, ...] = ("",)) -> Any:
    reader = feature_reader(feature, Missing(missing))
    return reader.read(column).tolist(), reader


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1", 1.0), (" -2.50 ", -2.5), ("+.5", 0.5), ("5.", 5.0), ("1e3", 1000.0),
        ("1E-2", 0.01), (3, 3.0), (2.5, 2.5), (Decimal("1.25"), 1.25), ("007", 7.0),
    ],
)  # fmt: skip
def test_number_when_plain_is_read(cell: object, value: float) -> None:
    values, reader = read(NUMBER, cell)
    assert values == [value]
    assert reader.problems(missing_is_one=True) == []


@pytest.mark.parametrize(
    "cell",
    [
        "x", "1,500", "1_000", "0x10", "inf", "-Infinity", "1e", "٣", "½", "1 2", "=1+1", "--1",
        '=cmd|"/c calc"!A1', "@SUM(A1)", True, False, b"1", object(), [1], 1j, "1" + "\x00",
    ],
)  # fmt: skip
def test_number_when_it_is_none_is_counted(cell: object) -> None:
    values, reader = read(NUMBER, 1, cell, cell)
    assert math.isnan(values[1])
    (problem,) = reader.problems(missing_is_one=False)
    assert (problem.column, problem.what, problem.rows) == ("n", cells.NOT_A_NUMBER, 2)


@pytest.mark.parametrize(
    "cell", ["121", -0.001, Decimal("1e400"), 10**400, "1e39", "1e999", math.inf, -math.inf]
)
def test_number_when_out_of_range_is_counted(cell: object) -> None:
    _, reader = read(AGE, 0, 120, cell)
    (problem,) = reader.problems(missing_is_one=False)
    assert (problem.what, problem.rows) == (cells.OUT_OF_RANGE, 1)


@pytest.mark.parametrize("feature", [NUMBER, YES, Category(name="c", type="category",
                                                           categories=["a", "b"])])  # fmt: skip
def test_cell_when_missing_is_no_fault_by_itself(feature: Any) -> None:
    column = [None, math.nan, Decimal("NaN"), Decimal("sNaN"), "", " ? ", "?"]
    values, reader = read(feature, *column, missing=("", "?"))
    assert np.isnan(values).all()
    assert reader.absent == 7
    assert reader.problems(missing_is_one=False) == []
    (problem,) = reader.problems(missing_is_one=True)
    assert (problem.what, problem.rows) == (cells.MISSING, 7)


@pytest.mark.parametrize("feature", [NUMBER, YES, Category(name="c", type="category",
                                                           categories=["Nan", 8])])  # fmt: skip
def test_cell_when_empty_or_nan_is_missing_whatever_is_declared(feature: Any) -> None:
    column = [None, math.nan, Decimal("NaN"), "", " ", "nan", "NaN", " NAN "]
    _, reader = read(feature, *column, missing=("-9",))
    assert (reader.absent, reader.faults) == (8, {})


def test_code_when_it_is_a_missing_number_in_another_spelling_is_kept() -> None:
    feature = Category(name="c", type="category", categories=["09", 8])
    values, reader = read(feature, "09", "8", "8.0", "9", 9.0, "9.00", missing=("9",))
    assert values[:3] == [0, 1, 1]
    assert (reader.absent, reader.faults) == (3, {})


def test_category_when_named_as_people_are_is_no_nan() -> None:
    assert read(Category(name="c", type="category", categories=["Nan", "b"]), "Nan")[0] == [0]


def test_zero_when_negative_is_the_one_zero() -> None:
    values, _ = read(NUMBER, -0.0, "-0", 0)
    assert [math.copysign(1, value) for value in values] == [1, 1, 1]


def test_boolean_when_written_in_any_usual_way_is_read() -> None:
    yes = ["true", "T", " Yes ", "y", "1", "1.0", True, 1, 1.0, Decimal(1)]
    no = ["FALSE", "f", "no", "N", "0", "0.0", False, 0, 0.0, Decimal(0)]
    assert read(YES, *yes)[0] == [1.0] * len(yes)
    assert read(YES, *no)[0] == [0.0] * len(no)
    for wrong in ("ja", "2", "0.5", 2, 0.5, "on", b"1"):
        (problem,) = read(YES, wrong)[1].problems(missing_is_one=True)
        assert problem.what == cells.NOT_YES_OR_NO


def test_category_when_text_or_number_is_found_by_what_it_means() -> None:
    feature = Category(name="c", type="category", categories=["none", 1, "2"])
    column = ["none", " none ", 1, "1", 1.0, "1.0", Decimal("1"), 2, "2", 2.0]
    assert read(feature, *column)[0] == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]
    for wrong in ("None", "3", 3, 1.5, True, "true", None.__class__, b"none", math.inf, 10**400):
        (problem,) = read(feature, wrong)[1].problems(missing_is_one=True)
        assert problem.what == cells.UNKNOWN_CATEGORY


def test_category_when_codes_differ_in_zeros_only_needs_the_exact_text() -> None:
    feature = Category(name="icd", type="category", categories=["01", "1", "7"])
    assert read(feature, "01", "1", 1, "7", 7, 7.0)[0] == [0, 1, 1, 2, 2, 2]
    _, reader = read(feature, "001", "07", "7.0", Decimal("7.0"))
    assert reader.faults == {cells.UNKNOWN_CATEGORY: 4}


def test_label_when_several_values_make_a_class_is_that_class() -> None:
    label = Label(column="l", classes=[[0, "healthy", False], [1, 2, "ill", True]])
    reader = label_reader(label, Missing([""]))
    column = ["0", 0, "healthy", False, 1, "2", 2.0, "ill", True, "true"]
    assert reader.read(column).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    reader.read([3, "x"])
    assert reader.faults == {cells.UNKNOWN_LABEL: 2}


def test_category_when_spread_leaves_out_the_first() -> None:
    feature = Category(name="c", type="category", categories=["a", "b", "c"])
    assert spread(feature, np.array([0.0, 1.0, 2.0])).tolist() == [[0, 0], [1, 0], [0, 1]]
    assert spread(YES, np.array([0.0, 1.0])).tolist() == [[0], [1]]


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.decimals(),
    st.binary(max_size=4), st.dates(), st.complex_numbers(),
)  # fmt: skip


@given(st.lists(anything, max_size=20))
def test_cells_when_hostile_give_a_number_or_a_count(column: list[object]) -> None:
    features = [AGE, NUMBER, YES, Category(name="c", type="category", categories=["a", 1, "2"])]
    for feature in features:
        values, reader = read(feature, *column)
        bad = sum(reader.faults.values()) + reader.absent
        assert np.isnan(values).sum() == bad
        assert np.isfinite([value for value in values if not math.isnan(value)]).all()


def test_problem_when_told_holds_no_value() -> None:
    _, reader = read(NUMBER, SECRET, "=" + SECRET)
    text = " ".join(map(str, reader.problems(missing_is_one=True)))
    assert text == "column 'n': not a number in 2 rows"
