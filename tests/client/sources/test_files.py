"""CSV and Parquet: real files, also hostile ones."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.client.sources.tables import (
    COLUMNS,
    SECRET,
    everything_said,
    patients,
    place,
    settings,
    write_csv,
    write_parquet,
    write_sqlite,
)
from wardround.learning.errors import DataError
from wardround.protocol.errors import Retryable
from wardround_client.sources import csv as csv_module
from wardround_client.sources.errors import SourceError
from wardround_client.sources.rows import read_rows

CSV = {"type": "csv", "path": "patients.csv"}
PARQUET = {"type": "parquet", "path": "patients.parquet"}
HEADER = ",".join(COLUMNS)


def write(folder: Path, text: str | bytes) -> dict[str, Any]:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "patients.csv").write_bytes(data)
    return CSV


def lines(count: int = 30) -> str:
    return "".join(f"p,{20 + n},130.5,mild,yes,{n % 3}\n" for n in range(count))


def values(source: dict[str, Any], folder: Path, **changes: Any) -> Any:
    return read_rows(settings(source, **changes), place(folder)).values


def refusal(words: str, source: dict[str, Any], folder: Path, **changes: Any) -> Any:
    with pytest.raises(SourceError, match=words) as caught:
        values(source, folder, **changes)
    assert SECRET not in everything_said(caught.value)
    assert SECRET.split()[0] not in everything_said(caught.value)
    assert isinstance(caught.value, Retryable) == ("cannot be reached" in str(caught.value))
    return caught.value


def test_csv_when_plain_is_read_in_the_file_s_order(tmp_path: Path) -> None:
    found = values(write(tmp_path, HEADER + "\n" + lines()), tmp_path)
    assert found.shape == (30, 5)
    assert found[:4].tolist() == [
        [20, 130.5, 1, 1, 0], [21, 130.5, 1, 1, 1], [22, 130.5, 1, 1, 1], [23, 130.5, 1, 1, 0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "alter",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace("mild", '"mild"').replace("130.5", ' "130.5"'.strip()),
        lambda text: text.replace("patient,", " patient , ".strip() + ","),
        lambda text: text.replace(",mild", ", mild "),
    ],
)
def test_csv_when_written_by_another_program_is_the_same(tmp_path: Path, alter: Any) -> None:
    plain = values(write(tmp_path, HEADER + "\n" + lines()), tmp_path)
    altered = alter(HEADER + "\n" + lines())
    try:
        assert values(write(tmp_path, altered), tmp_path).tolist() == plain.tolist()
    except SourceError:
        # A second comma in the header makes another column, which is no spelling of the first.
        assert ",," in altered or " ," in altered


def test_csv_when_from_a_country_of_decimal_commas_is_the_same(tmp_path: Path) -> None:
    plain = values(write(tmp_path, HEADER + "\n" + lines()), tmp_path)
    text = (HEADER + "\n" + lines()).replace(",", ";").replace("130.5", "130,5")
    source = write(tmp_path, text) | {"delimiter": ";", "decimal": ","}
    assert values(source, tmp_path).tolist() == plain.tolist()
    # 1.234 may be a thousand or one and a bit.
    write(tmp_path, text.replace("130,5", "1.305"))
    assert refusal("does not fit its schema", source, tmp_path).problems[0].column == "pressure"


def test_csv_when_in_an_old_encoding_is_read(tmp_path: Path) -> None:
    text = HEADER + "\n" + lines().replace("mild", "schwächer")
    features = settings(CSV).model_dump()["features"]
    features[2]["categories"] = ["none", "schwächer"]
    write(tmp_path, text.encode("latin-1"))
    assert "not UTF-8" in str(refusal('encoding = "latin-1"', CSV, tmp_path, features=features))
    old = CSV | {"encoding": "latin-1"}
    assert len(values(old, tmp_path, features=features)) == 30


@pytest.mark.parametrize("declared", ["latin-1", "cp1252"])
def test_csv_when_it_is_utf_8_is_not_read_as_another_encoding(
    tmp_path: Path, declared: str
) -> None:
    """Any bytes are text in those, so each name would be another than it was."""
    write(tmp_path, HEADER + "\n" + lines().replace("mild", "schwächer"))
    assert refusal('encoding = "utf-8"', CSV | {"encoding": declared}, tmp_path)


def test_csv_when_it_is_cp1252_is_not_read_as_latin_1(tmp_path: Path) -> None:
    write(tmp_path, (HEADER + "\n" + lines().replace("mild", "Šverma")).encode("cp1252"))
    assert refusal('encoding = "cp1252"', CSV | {"encoding": "latin-1"}, tmp_path)


@pytest.mark.parametrize(
    ("header", "column", "what"),
    [
        (HEADER.replace("age,", ""), "age", "missing"),
        (HEADER + ",age", "age", "twice"),
        (HEADER.replace("age", "Age"), "age", "missing"),
        (HEADER + "," + SECRET, None, "1 columns are neither declared nor ignored"),
        (HEADER + "," + SECRET, None, "by their place: 7."),
        (f"{SECRET},40,130,mild,yes,1", "age", "missing"),
    ],
)  # fmt: skip
def test_csv_when_its_columns_differ_says_which(
    tmp_path: Path, header: str, column: str | None, what: str
) -> None:
    error = refusal("does not fit its schema", write(tmp_path, header + "\n" + lines()), tmp_path)
    assert error.problems[0].column == column
    assert what in str(error)


def test_cells_when_wrong_are_counted_by_column(tmp_path: Path) -> None:
    text = HEADER + "\n" + lines(20)
    text += f"p,{SECRET},130,mild,yes,0\n" * 3 + "p,130,130,mild,yes,0\n" * 2
    text += f"p,30,={SECRET},{SECRET},{SECRET},{SECRET}\n" + "p,,,,,\n" * 4
    error = refusal("does not fit its schema", write(tmp_path, text), tmp_path)
    found = {(one.column, one.what): one.rows for one in error.problems}
    assert found == {
        ("age", "a value out of range"): 2,
        ("age", "not a number"): 3,
        ("age", "missing values"): 4,
        ("pressure", "not a number"): 1,
        ("pressure", "missing values"): 4,
        ("pain", "a category that is not declared"): 1,
        ("pain", "missing values"): 4,
        ("smoker", "neither yes nor no"): 1,
        ("smoker", "missing values"): 4,
        ("outcome", "a label that no class has"): 1,
        ("outcome", "missing values"): 4,
    }
    assert (error.problems[0].column, error.problems[0].rows) == ("age", 2)
    assert "column 'age': a value out of range in 2 rows" in str(error)


def test_rows_when_a_value_is_missing_are_dropped_if_so_declared(tmp_path: Path) -> None:
    text = HEADER + "\n" + lines() + "p,?,1,mild,yes,0\np,40,,mild,yes,0\np,40,1,mild,yes,?\n"
    source = write(tmp_path, text)
    rows = read_rows(settings(source, on_missing="drop", missing=["", "?"]), place(tmp_path))
    assert (len(rows), rows.dropped) == (30, 3)
    assert rows.missing == {"age": 1, "pressure": 1, "pain": 0, "smoker": 0, "outcome": 1}
    # A "?" that is not declared to be missing is a fault, not a gap.
    assert (
        refusal("does not fit its schema", source, tmp_path, on_missing="drop").problems[0].rows
        == 1
    )


@pytest.mark.parametrize("absent", [None, math.nan])
def test_rows_when_a_number_is_missing_are_the_same_from_every_source(
    tmp_path: Path, absent: float | None
) -> None:
    rows = patients()
    for row in rows[::7]:
        row["pressure"] = absent
    for row in rows[::11]:
        row["pain"] = None
    read = [
        read_rows(settings(source, on_missing="drop", missing=["-9"]), place(tmp_path))
        for source in (
            write_csv(tmp_path, rows), write_parquet(tmp_path, rows), write_sqlite(tmp_path, rows)
        )
    ]  # fmt: skip
    assert {one.dropped for one in read} == {14}
    assert len({one.values.tobytes() for one in read}) == 1


def test_csv_when_rows_are_ragged_counts_them(tmp_path: Path) -> None:
    text = HEADER + "\n" + lines() + f"{SECRET}\n" + f"p,40,130,mild,yes,1,{SECRET}\n" * 2
    error = refusal("does not fit its schema", write(tmp_path, text), tmp_path)
    assert (error.problems[0].column, error.problems[0].rows) == (None, 3)


@pytest.mark.parametrize("text", ["", "\n", HEADER, HEADER + "\n", HEADER + "\n\n\n"])
def test_csv_when_without_rows_is_empty(tmp_path: Path, text: str) -> None:
    with pytest.raises((DataError, SourceError)) as caught:
        values(write(tmp_path, text), tmp_path)
    assert isinstance(caught.value, DataError) or text == "\n"


@pytest.mark.parametrize(
    "text",
    [
        HEADER + '\n"' + SECRET + "\n" * 10,
        HEADER + f'\n"{SECRET}"x,1,1,mild,yes,1\n',
        HEADER + "\n" + "9" * 140_000 + ",1,1,mild,yes,1\n",
        b"PK\x03\x04" + bytes(range(256)) + SECRET.encode(),
        HEADER.encode("utf-16"),
    ],
)
def test_csv_when_it_is_none_is_refused(tmp_path: Path, text: str | bytes) -> None:
    refusal("cannot be read|is not written as", write(tmp_path, text), tmp_path)


def test_csv_when_larger_than_its_limit_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, HEADER + "\n" + lines(1000))
    monkeypatch.setattr(csv_module.CsvSource, "_batches", None)
    error = refusal("has more than", source | {"max_bytes": 1000}, tmp_path)
    assert "more than 1000 bytes: give a part of it, or raise max_bytes" in str(error)


def test_csv_when_it_grows_while_it_is_read_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, HEADER + "\n" + lines(1000))
    unchecked = property(lambda self: lambda place: place.folder / self.path)
    monkeypatch.setattr(csv_module.CsvSource, "file", unchecked)
    refusal("has more than", source | {"max_bytes": 1000}, tmp_path)


def test_csv_when_a_line_has_no_end_is_stopped(tmp_path: Path) -> None:
    error = refusal("cannot be read", write(tmp_path, HEADER + "," * (1 << 21)), tmp_path)
    assert "line is longer" in str(error)


def test_csv_when_there_are_more_rows_than_allowed_is_not_cut_off(tmp_path: Path) -> None:
    source = write(tmp_path, HEADER + "\n" + lines(30))
    assert len(values(source, tmp_path, max_rows=30)) == 30
    refusal("29 rows: give a part of it, or raise max_rows", source, tmp_path, max_rows=29)


@pytest.mark.parametrize("source", [CSV, PARQUET])
def test_file_when_it_is_no_file_is_unreachable(tmp_path: Path, source: dict[str, Any]) -> None:
    path = tmp_path / source["path"]
    assert "no such file" in str(refusal("cannot be reached", source, tmp_path))
    path.mkdir()
    refusal("cannot be reached", source, tmp_path)
    path.rmdir()
    # Opening a pipe would wait for ever.
    os.mkfifo(path)
    refusal("cannot be reached", source, tmp_path)


@given(data=st.binary(max_size=300))
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_csv_when_hostile_gives_one_error(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, HEADER.encode() + b"\n" + data)
    with pytest.raises((SourceError, DataError)):
        values(CSV, tmp_path)


def test_parquet_when_typed_is_read(tmp_path: Path) -> None:
    rows = patients(30)
    found = values(write_parquet(tmp_path, rows), tmp_path)
    assert found[:, 0].tolist() == [row["age"] for row in rows]
    assert found[:, 1].tolist() == [row["pressure"] for row in rows]


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.int8(), pyarrow.uint64(), pyarrow.float32(), pyarrow.float64(), pyarrow.string(),
        pyarrow.large_string(), pyarrow.decimal128(10, 2),
        pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    ],
)  # fmt: skip
def test_parquet_when_of_any_plain_type_means_the_same(tmp_path: Path, kind: Any) -> None:
    table = pyarrow.Table.from_pylist(patients(30))
    ages = table.column("age").cast(pyarrow.int16())
    if pyarrow.types.is_decimal(kind):
        ages = pyarrow.chunked_array(
            [pyarrow.array(ages.to_pylist()).cast(pyarrow.decimal128(21, 2))]
        )
    elif pyarrow.types.is_dictionary(kind):
        ages = ages.cast(pyarrow.string()).dictionary_encode()
    else:
        ages = ages.cast(kind)
    parquet.write_table(table.set_column(1, "age", ages), tmp_path / "patients.parquet")
    found = values(PARQUET, tmp_path)
    assert found[:, 0].tolist() == [row["age"] for row in patients(30)]


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([[1]] * 30), pyarrow.array([{"a": 1}] * 30), pyarrow.array([b"1"] * 30),
        pyarrow.array([1] * 30, pyarrow.timestamp("s")), pyarrow.array([1] * 30, pyarrow.date32()),
    ],
)  # fmt: skip
def test_parquet_when_a_column_is_of_no_plain_type_is_refused(tmp_path: Path, column: Any) -> None:
    table = pyarrow.Table.from_pylist(patients(30)).set_column(1, "age", column)
    parquet.write_table(table, tmp_path / "patients.parquet")
    assert refusal("does not fit its schema", PARQUET, tmp_path).problems[0].column == "age"


def test_parquet_when_its_columns_differ_says_which(tmp_path: Path) -> None:
    rows = [{"pressure" if key == "age" else key: value for key, value in row.items()}
            for row in patients(30)]  # fmt: skip
    rows = [{**row, SECRET: 1} for row in rows]
    error = refusal("does not fit its schema", write_parquet(tmp_path, rows), tmp_path)
    assert error.problems[0].column == "age"
    assert "by their place: 6" in str(error)


class Trap:
    """Unpickled, it leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_parquet_when_its_metadata_holds_a_pickle_runs_nothing(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    table = pyarrow.Table.from_pylist(patients(30))
    extension = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": trap,
    }
    fields = [field.with_metadata(extension) for field in table.schema]
    pandas = {"index_columns": ["patient"], "columns": [{"pandas_type": "object"}] * 9}
    marked = pyarrow.schema(fields, {"pandas": json.dumps(pandas), "pickle": trap})
    parquet.write_table(
        pyarrow.Table.from_arrays(table.columns, schema=marked), tmp_path / "patients.parquet"
    )
    assert len(values(PARQUET, tmp_path)) == 30
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists(), "the trap was no trap"


def test_parquet_when_it_unpacks_to_more_than_its_limit_is_refused(tmp_path: Path) -> None:
    rows = [{**row, "pain": "none" * 5000 + str(at)} for at, row in enumerate(patients(200))]
    parquet.write_table(
        pyarrow.Table.from_pylist(rows), tmp_path / "patients.parquet",
        compression="zstd", use_dictionary=False,
    )  # fmt: skip
    packed = (tmp_path / "patients.parquet").stat().st_size
    refusal("bytes unpacked", PARQUET | {"max_bytes": packed + 1000}, tmp_path)
    refusal("has more than", PARQUET | {"max_bytes": packed - 1}, tmp_path)
    refusal("has more than 199 rows", PARQUET, tmp_path, max_rows=199)


def test_parquet_when_damaged_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path, patients(30))
    whole = (tmp_path / "patients.parquet").read_bytes()
    for data in (b"", b"PAR1", whole[:-1], whole[:200], whole[: len(whole) // 2], whole[4:]):
        (tmp_path / "patients.parquet").write_bytes(data)
        refusal("cannot be read", PARQUET, tmp_path)


@given(st.data())
@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_parquet_when_bytes_are_altered_gives_rows_or_one_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "patients.parquet"
    original = tmp_path / "original"
    if not original.exists():
        write_parquet(tmp_path, patients(30))
        original.write_bytes(path.read_bytes())
    altered = bytearray(original.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(altered)
    with contextlib.suppress(SourceError, DataError):
        assert np.isfinite(values(PARQUET, tmp_path)).all()
