"""Cells as hospitals write them: codes stay codes, and a missing code is missing however spelt."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

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
