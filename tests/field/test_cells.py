"""Cells as hospitals write them: codes stay codes, and a missing code is missing however spelt."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

from wardround.learning.errors import DataError
from wardround_client.sources.base import Place
from wardround_client.sources.cells import UNKNOWN_CATEGORY, UNKNOWN_LABEL
from wardround_client.sources.errors import SourceError
from wardround_client.sources.rows import Rows, read_rows
from wardround_client.sources.settings import DataSettings

ROWS = 60
Column = Sequence[object]


def write_csv(folder: Path, columns: Mapping[str, Column]) -> dict[str, Any]:
    lines = [",".join(columns)]
    lines += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    (folder / "ward.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"type": "csv", "path": "ward.csv"}


def write_decimal_commas(folder: Path, columns: Mapping[str, Column]) -> dict[str, Any]:
    lines = [";".join(columns)]
    lines += [";".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    (folder / "ward.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"type": "csv", "path": "ward.csv", "delimiter": ";", "decimal": ","}


def write_parquet(folder: Path, columns: Mapping[str, Any]) -> dict[str, Any]:
    parquet.write_table(pyarrow.table(dict(columns)), folder / "ward.parquet")
    return {"type": "parquet", "path": "ward.parquet"}


def write_sqlite(folder: Path, columns: Mapping[str, Column]) -> dict[str, Any]:
    connection = sqlite3.connect(folder / "ward.db")
    with connection:
        connection.execute(f"create table ward ({', '.join(columns)})")
        marks = ", ".join("?" for _ in columns)
        rows = list(zip(*columns.values(), strict=True))
        connection.executemany(f"insert into ward values ({marks})", rows)
    connection.close()
    return {"type": "sql", "url": "sqlite:///ward.db", "table": "ward"}


WRITERS = {"csv": write_csv, "parquet": write_parquet, "sql": write_sqlite}


def read(source: dict[str, Any], folder: Path, **changes: Any) -> Rows:
    """Read a ward's table: an age, a coded diagnosis, and whether the patient came back."""
    declared = {
        "name": "ward",
        "source": source,
        "features": [
            {"name": "bmi", "type": "numeric"},
            {"name": "code", "type": "category", "categories": ["a", "b"]},
        ],
        "label": {"column": "back", "classes": [[0], [1]]},
    }
    return read_rows(DataSettings.model_validate(declared | changes), Place(folder, {}))


def ward(**columns: Column) -> dict[str, Column]:
    """Sixty rows that fit, with some columns in place of the usual ones."""
    usual: dict[str, Column] = {
        "bmi": [20.5 + row / 4 for row in range(ROWS)],
        "code": ["a", "b"] * (ROWS // 2),
        "back": [row // 2 % 2 for row in range(ROWS)],
    }
    return usual | columns


def coded(*categories: object) -> list[dict[str, Any]]:
    return [
        {"name": "bmi", "type": "numeric"},
        {"name": "code", "type": "category", "categories": list(categories)},
    ]


# ---------------------------------------------------------------- codes


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("declared", "others"),
    [
        (["250.1", "250.2"], ["250.10", "250.20"]),
        (["100", "3"], ["1E2", "3"]),
        (["001", "002"], ["1", "2"]),
        (["7", "8"], ["07", "8.0"]),
    ],
    ids=["trailing zero", "exponent", "leading zeros", "padded"],
)
def test_schema_of_text_codes_refuses_another_code_of_equal_number(
    tmp_path: Path, kind: str, declared: list[str], others: list[str]
) -> None:
    """The site declares codes in quotes; a cell with another text is another code."""
    cells = [declared[0], others[0], declared[1], others[1]] * (ROWS // 4)
    source = WRITERS[kind](tmp_path, ward(code=cells))
    with pytest.raises(SourceError) as refusal:
        read(source, tmp_path, features=coded(*declared))
    (problem,) = refusal.value.problems
    wrong = sum(cell not in declared for cell in cells)
    assert (problem.column, problem.what, problem.rows) == ("code", UNKNOWN_CATEGORY, wrong)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("declared", "other"), [("I10", "I10.0"), ("010", "10")])
def test_label_of_text_codes_refuses_another_code(
    tmp_path: Path, kind: str, declared: str, other: str
) -> None:
    """A class is made of codes too."""
    source = WRITERS[kind](tmp_path, ward(back=[declared, "none", other] * (ROWS // 3)))
    with pytest.raises(SourceError) as refusal:
        read(source, tmp_path, label={"column": "back", "classes": [["none"], [declared]]})
    (problem,) = refusal.value.problems
    assert (problem.column, problem.what, problem.rows) == ("back", UNKNOWN_LABEL, ROWS // 3)


@pytest.mark.parametrize("kind", WRITERS)
def test_schema_keeps_codes_apart_that_are_equal_numbers(tmp_path: Path, kind: str) -> None:
    """Both codes are declared, so both are read, each as itself."""
    source = WRITERS[kind](tmp_path, ward(code=["250.1", "250.10", "2501"] * (ROWS // 3)))
    found = read(source, tmp_path, features=coded("250.1", "250.10", "2501"))
    assert found.values[:3, 1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", WRITERS)
def test_schema_of_numbers_reads_a_number_however_it_is_written(tmp_path: Path, kind: str) -> None:
    """A program that exports 1 as 1.0 changes nothing where the site declares numbers."""
    cells = [1.0, 2.0, 3.0] if kind != "csv" else ["1.0", "2.00", "3"]
    source = WRITERS[kind](tmp_path, ward(code=cells * (ROWS // 3)))
    found = read(source, tmp_path, features=coded(1, 2, 3))
    assert found.values[:3, 1].tolist() == [0, 1, 2]


# ---------------------------------------------------------------- missing codes

NUMBERS = [
    ("csv", "-9", "-9.0"),
    ("csv", "-9.0", "-9"),
    ("csv", "999", "999.00"),
    ("parquet", "-9", -9.0),
    ("sql", "-9", -9.0),
    ("sql", "-9", -9),
]


@pytest.mark.parametrize(("kind", "missing", "cell"), NUMBERS)
def test_missing_code_of_a_number_is_found_as_a_number(
    tmp_path: Path, kind: str, missing: str, cell: object
) -> None:
    """Six of sixty cells hold the code; it never becomes a body mass index."""
    cells = [cell if row % 10 == 0 else 20.5 + row / 4 for row in range(ROWS)]
    source = WRITERS[kind](tmp_path, ward(bmi=cells))
    found = read(source, tmp_path, missing=["", missing], on_missing="drop")
    assert (len(found), found.dropped, found.missing["bmi"]) == (54, 6, 6)
    assert found.values[:, 0].min() > 0


def test_missing_code_in_a_column_of_whole_numbers_is_found(tmp_path: Path) -> None:
    """Parquet keeps such a column as integers, and the code is one of them."""
    cells = [-9 if row % 10 == 0 else 20 + row for row in range(ROWS)]
    source = write_parquet(tmp_path, ward(bmi=cells))
    found = read(source, tmp_path, missing=["-9"], on_missing="drop")
    assert (len(found), found.dropped) == (54, 6)


def test_missing_code_of_text_is_found_from_every_source(tmp_path: Path) -> None:
    """A code that is spelt as declared needs no number."""
    cells = ["NA" if row % 10 == 0 else "ab"[row % 2] for row in range(ROWS)]
    for kind, write in WRITERS.items():
        source = write(tmp_path, ward(code=cells))
        found = read(source, tmp_path, missing=["NA"], on_missing="drop")
        assert (kind, len(found), found.dropped) == (kind, 54, 6)


@pytest.mark.parametrize(
    ("missing", "cell"),
    [
        ("99,9", "99,9"),
        ("-9,0", "-9,0"),
        (".", "."),
        ("..", ".."),
        ("-", "-"),
        ("999", "999"),
        ("99,9", "99,90"),
    ],
)
def test_missing_code_in_a_table_of_decimal_commas_is_found(
    tmp_path: Path, missing: str, cell: str
) -> None:
    """The code is declared as the file spells it; SAS writes a point for no value."""
    cells = [cell if row % 10 == 0 else f"2{row % 7},5" for row in range(ROWS)]
    source = write_decimal_commas(tmp_path, ward(bmi=cells))
    found = read(source, tmp_path, missing=["", missing], on_missing="drop")
    assert (len(found), found.dropped, found.missing["bmi"]) == (54, 6, 6)
    assert 20 <= found.values[:, 0].min() <= found.values[:, 0].max() < 27


# ---------------------------------------------------------------- kinds of text

TEXTS = {
    "string_view": pyarrow.string_view(),
    "string": pyarrow.string(),
    "large_string": pyarrow.large_string(),
    "dictionary": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
}


@pytest.mark.parametrize("kind", ["string_view", "string", "large_string", "dictionary"])
@pytest.mark.parametrize("column", ["code", "back"])
def test_parquet_reads_text_of_every_kind(tmp_path: Path, kind: str, column: str) -> None:
    """The memory layout of a writer's text does not change its meaning."""
    columns = ward()
    cells = [str(cell) for cell in columns[column]]
    cells[3] = None  # type: ignore[call-overload]
    columns[column] = pyarrow.array(cells, TEXTS["string"]).cast(TEXTS[kind])
    found = read(write_parquet(tmp_path, columns), tmp_path, on_missing="drop")
    assert (len(found), found.dropped) == (ROWS - 1, 1)
    expected = read(write_csv(tmp_path, ward()), tmp_path).values
    assert found.values[:3].tolist() == expected[:3].tolist()


# ---------------------------------------------------------------- the same from every source

FEATURES: dict[str, list[dict[str, Any]]] = {
    "numeric": [{"name": "cell", "type": "numeric"}],
    "boolean": [{"name": "cell", "type": "boolean"}],
    "numbers": [{"name": "cell", "type": "category", "categories": [0, 1, 2**53, 2**53 + 1]}],
    "codes": [
        {"name": "cell", "type": "category", "categories": ["1", "01", "1.0", "250.1", "NA"]}
    ],
}
whole = st.sampled_from([0, 1, -9, 2**53, 2**53 + 1, 2**63 - 1, 7])
fraction = st.sampled_from([1.0, -9.0, 250.1, 0.1, 1e-7, 1e22, 3.5, -0.0])
decimal = st.sampled_from(["1.00", "250.10", "-9.00", "0.01"]).map(Decimal)
text = st.sampled_from(["1", "01", "1.0", "1E0", "250.10", "NA", "-9", " -9.00 ", "true", "x", ""])
columns = st.one_of(
    st.tuples(st.just(pyarrow.int64()), st.lists(whole, min_size=2, max_size=9)),
    st.tuples(st.just(pyarrow.float64()), st.lists(fraction, min_size=2, max_size=9)),
    st.tuples(st.just(pyarrow.decimal128(20, 2)), st.lists(decimal, min_size=2, max_size=9)),
    st.tuples(st.sampled_from([*TEXTS.values()]), st.lists(text, min_size=2, max_size=9)),
)


def outcome(source: dict[str, Any], folder: Path, feature: str) -> object:
    """What training would see of a column, or what is wrong with it."""
    try:
        found = read(
            source, folder, features=FEATURES[feature], missing=["", "-9"], on_missing="drop",
            min_rows=2,
        )  # fmt: skip
    except SourceError as refusal:
        return [str(problem) for problem in refusal.problems] or type(refusal)
    except DataError as refusal:
        return type(refusal)
    return found.values.tolist(), found.dropped


@given(columns, st.sampled_from([*FEATURES]))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_column_means_the_same_from_every_source(
    tmp_path: Path, typed: tuple[Any, list[Any]], feature: str
) -> None:
    """The kind of file decides nothing: what is read, dropped and refused is equal."""
    kind, cells = typed
    back = [row % 2 for row in range(len(cells))]
    # A program that writes floats as text chooses its own spelling; Python's is one of them.
    expected = outcome(write_csv(tmp_path, {"cell": cells, "back": back}), tmp_path, feature)
    if pyarrow.types.is_dictionary(kind):
        array = pyarrow.array(cells, pyarrow.string()).cast(kind)
    else:
        array = pyarrow.array(cells, kind)
    source = write_parquet(tmp_path, {"cell": array, "back": back})
    found = outcome(source, tmp_path, feature)
    if pyarrow.types.is_float64(kind) and feature == "codes":
        # A float's column holds no code, so a whole one is spelt without a point too.
        return
    assert found == expected
    if not pyarrow.types.is_decimal(kind):  # SQLite has none
        (tmp_path / "ward.db").unlink(missing_ok=True)
        source = write_sqlite(tmp_path, {"cell": cells, "back": back})
        assert outcome(source, tmp_path, feature) == expected


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        (pyarrow.float32(), [20.1, 0.1, -3.3e-5]),
        (pyarrow.float16(), [20.1, 0.1, 1.5]),
        (pyarrow.dictionary(pyarrow.int8(), pyarrow.float32()), [20.1, 0.1, 20.1]),
    ],
)
def test_parquet_of_short_floats_gives_the_numbers_that_were_written(
    tmp_path: Path, kind: Any, cells: list[float]
) -> None:
    """A row's side follows from its numbers, so 20.1 is 20.1 and not 20.100000381."""
    value = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    array = pyarrow.array([*cells, None] * (ROWS // 4), pyarrow.float64()).cast(value)
    if value != kind:
        array = array.dictionary_encode().cast(kind)
    source = write_parquet(tmp_path, ward(bmi=array))
    found = read(source, tmp_path, on_missing="drop")
    short = [20.1 if cell == 20.1 else cell for cell in cells]
    digits = 3 if value == pyarrow.float16() else 7
    assert found.values[:3, 0].tolist() == [float(f"{cell:.{digits}g}") for cell in short]
    assert found.dropped == ROWS // 4


def test_fractions_declared_as_numbers_are_exact_numbers(tmp_path: Path) -> None:
    """A dose of half a tablet is 0.5, 0.50 or 5E-1, and 0.3 is not 0.1 + 0.2."""
    declared = coded(0.5, 1, 0.3)
    texts = ["0.5", "0.50", "5E-1", "1.0", "0.3", ".30"] * (ROWS // 6)
    numbers = [0.5, 0.5, 0.5, 1.0, 0.3, 0.3] * (ROWS // 6)
    for cells in (texts, numbers):
        for write in WRITERS.values():
            (tmp_path / "ward.db").unlink(missing_ok=True)
            found = read(write(tmp_path, ward(code=cells)), tmp_path, features=declared)
            assert found.values[:6, 1].tolist() == [0, 0, 0, 1, 2, 2]
    with pytest.raises(SourceError, match="category that is not declared in 60 rows"):
        read(write_parquet(tmp_path, ward(code=[0.1 + 0.2] * ROWS)), tmp_path, features=declared)
    for twice in ([1, 1.0], [0.5, "0.5"]):
        with pytest.raises(ValidationError, match="named twice"):
            read({"type": "csv", "path": "x"}, tmp_path, features=coded(*twice))


def test_accents_are_one_letter_in_both_of_their_forms(tmp_path: Path) -> None:
    """macOS writes an u and two dots where others write one letter."""
    cells = ["pr\u00e4", "pra\u0308"] * (ROWS // 2)
    for write in WRITERS.values():
        (tmp_path / "ward.db").unlink(missing_ok=True)
        source = write(tmp_path, ward(code=cells))
        for declared in ("pr\u00e4", "pra\u0308"):
            found = read(source, tmp_path, features=coded("post", declared))
            assert set(found.values[:, 1]) == {1}


def test_dates_are_codes_of_one_spelling(tmp_path: Path) -> None:
    """A database gives dates where a file gives text."""
    days = [datetime.date(2024, 5, 1), datetime.date(2023, 1, 31)] * (ROWS // 2)
    declared = coded("2024-05-01", "2023-01-31")
    expected = [0, 1, 0]
    for write in (write_csv, write_parquet):
        found = read(write(tmp_path, ward(code=days)), tmp_path, features=declared)
        assert found.values[:3, 1].tolist() == expected
    source = write_sqlite(tmp_path, ward(code=[str(day) for day in days]))
    source["query"] = f"select bmi, code, back from {source.pop('table')}"
    assert read(source, tmp_path, features=declared).values[:3, 1].tolist() == expected


@pytest.mark.parametrize("yes", [True, "True", "TRUE", "t", "yes", 1, "1"])
def test_truth_is_found_however_a_program_writes_it(tmp_path: Path, yes: object) -> None:
    """PostgreSQL writes t, pandas True, and SQLite keeps 1."""
    no = {True: False, "True": "False", "TRUE": "FALSE", "t": "f", "yes": "no", "1": "0"}[yes]  # type: ignore[index]
    no = 0 if isinstance(yes, int) and not isinstance(yes, bool) else no
    label = {"column": "back", "classes": [[False], [True]]}
    for kind, write in WRITERS.items():
        (tmp_path / "ward.db").unlink(missing_ok=True)
        found = read(write(tmp_path, ward(back=[no, yes] * (ROWS // 2))), tmp_path, label=label)
        assert (kind, found.values[:2, -1].tolist()) == (kind, [0, 1])


# ---------------------------------------------------------------- what is missing, once more


@pytest.mark.parametrize("column", ["flag", "code"])
def test_missing_number_is_found_in_columns_of_every_kind(tmp_path: Path, column: str) -> None:
    """-9.0 in a column of yes and no, or of declared numbers, is the code -9 too."""
    features = [
        {"name": "bmi", "type": "numeric"},
        {"name": "flag", "type": "boolean"},
        {"name": "code", "type": "category", "categories": [1, 0]},
    ]
    cells = [-9.0 if row % 10 == 0 else float(row % 2) for row in range(ROWS)]
    columns = ward(flag=[row % 2 for row in range(ROWS)], code=[row % 2 for row in range(ROWS)])
    for write in WRITERS.values():
        (tmp_path / "ward.db").unlink(missing_ok=True)
        source = write(tmp_path, columns | {column: cells})
        found = read(source, tmp_path, features=features, missing=["-9"], on_missing="drop")
        assert (len(found), found.missing[column]) == (54, 6)


def test_missing_code_is_no_other_code_of_equal_number(tmp_path: Path) -> None:
    """Among codes 099 is not 99: it is read where it is declared, and refused where it is not."""
    cells = ["099", "99", "1", "2"] * (ROWS // 4)
    for write in WRITERS.values():
        (tmp_path / "ward.db").unlink(missing_ok=True)
        source = write(tmp_path, ward(code=cells))
        changes = {"missing": ["", "99"], "on_missing": "drop"}
        found = read(source, tmp_path, features=coded("1", "2", "099"), **changes)
        assert (found.missing["code"], found.dropped) == (15, 15)
        with pytest.raises(SourceError) as refusal:
            read(source, tmp_path, features=coded("1", "2"), **changes)
        (problem,) = refusal.value.problems
        assert (problem.what, problem.rows) == (UNKNOWN_CATEGORY, 15)


def test_missing_code_beyond_a_float_s_digits_is_compared_exactly(tmp_path: Path) -> None:
    """The neighbour of 2**53 + 1 is a value."""
    cells = [2**53, 2**53 + 1] * (ROWS // 2)
    for write in WRITERS.values():
        (tmp_path / "ward.db").unlink(missing_ok=True)
        source = write(tmp_path, ward(bmi=cells))
        found = read(source, tmp_path, missing=[str(2**53 + 1)], on_missing="drop")
        assert found.missing["bmi"] == ROWS // 2


# ---------------------------------------------------------------- marks of numbers


@pytest.mark.parametrize(
    ("write", "cell", "hint"),
    [
        (write_decimal_commas, "20.5", r'decimal = "\."'),
        (write_decimal_commas, "1.5e3", r'decimal = "\."'),
        (write_decimal_commas, "1.500", "not a number in"),
        (write_decimal_commas, "1.500,5", "not a number in"),
        (write_sqlite, "20,5", 'decimal = ","'),
        (write_parquet, "20,5", 'decimal = ","'),
        (write_parquet, "1,500", "not a number in"),
        (write_parquet, "1,500,000.5", "not a number in"),
        (write_parquet, "1 500", "not a number in"),
        (write_parquet, "1'500", "not a number in"),
    ],
)
def test_number_with_another_mark_is_refused_and_the_setting_is_named(
    tmp_path: Path, write: Any, cell: str, hint: str
) -> None:
    """What parts thousands is ambiguous, so it is no number and no hint."""
    with pytest.raises(SourceError, match=hint) as refusal:
        read(write(tmp_path, ward(bmi=[cell] * ROWS)), tmp_path)
    assert cell not in str(refusal.value)
    assert [problem.column for problem in refusal.value.problems] == ["bmi"]


def test_code_keeps_its_point_in_a_table_of_decimal_commas(tmp_path: Path) -> None:
    """A diagnosis such as E11.9 or 250.1 is no number, whatever mark numbers have."""
    cells = ["250.1", "250,1"] * (ROWS // 2)
    source = write_decimal_commas(tmp_path, ward(bmi=["20,5"] * ROWS, code=cells))
    found = read(source, tmp_path, features=coded("250.1", "250,1"))
    assert found.values[:2].tolist() == [[20.5, 0, 0], [20.5, 1, 0]]
    source = write_decimal_commas(tmp_path, ward(bmi=["1,0"] * ROWS, code=["1,0", "2"] * 30))
    assert read(source, tmp_path, features=coded(1, 2)).values[:2, 1].tolist() == [0, 1]
