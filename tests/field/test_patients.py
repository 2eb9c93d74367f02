"""A patient who came several times is on one side: trained on, or measured on."""

from __future__ import annotations

import csv
import random
import sqlite3
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from wardround.learning.datasets.people import person_of
from wardround.learning.datasets.table import SiteData
from wardround_client.errors import Refusal
from wardround_client.guard.guard import _check_enough
from wardround_client.settings import PolicyTable
from wardround_client.sources.base import Place
from wardround_client.sources.errors import SourceError
from wardround_client.sources.prepare import load_site_data
from wardround_client.sources.settings import DataSettings

PATIENTS, VISITS = 30, 4


def visits(patients: int = PATIENTS) -> list[dict[str, Any]]:
    """Four visits of each patient; only a visit's own row has its number."""
    return [
        {
            "patient": f"P{patient:03}",
            "visit": 100 * patient + visit,
            "pain": "none" if (patient + visit) % 3 else "mild",
            "outcome": patient % 2,
        }
        for patient in range(patients)
        for visit in range(VISITS)
    ]


def write_csv(
    folder: Path, rows: list[dict[str, Any]], delimiter: str = ",", **keys: str
) -> dict[str, Any]:
    encoding = keys.get("encoding", "utf-8")
    with (folder / "visits.csv").open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return {"type": "csv", "path": "visits.csv", "delimiter": delimiter} | keys


def write_parquet(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "visits.parquet")
    return {"type": "parquet", "path": "visits.parquet"}


def write_sqlite(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    connection = sqlite3.connect(folder / "visits.db")
    with connection:
        connection.execute(f"create table visits ({', '.join(rows[0])})")
        marks = ", ".join("?" for _ in rows[0])
        connection.executemany(
            f"insert into visits values ({marks})", [tuple(row.values()) for row in rows]
        )
    connection.close()
    return {"type": "sql", "url": "sqlite:///visits.db", "table": "visits"}


WRITERS = [write_csv, write_parquet, write_sqlite]


def load(source: dict[str, Any], folder: Path, **keys: Any) -> SiteData:
    """Load a table of visits."""
    declared = {
        "name": "visits",
        "source": source,
        "features": [
            {"name": "visit", "type": "numeric"},
            {"name": "pain", "type": "category", "categories": ["none", "mild"]},
        ],
        "label": {"column": "outcome", "classes": [[0], [1]]},
        "scaling": "none",
    }
    return load_site_data(DataSettings.model_validate(declared | keys), Place(folder, {}))


def sides(source: dict[str, Any], folder: Path, **keys: Any) -> tuple[set[int], set[int]]:
    """Patients who are trained on, and those who are measured on, by their visits' numbers."""
    data = load(source, folder, **keys)
    assert data.train.features.shape[1] == 2, "a patient's number is no input of a model"
    return tuple(
        {int(visit) // 100 for visit in part.features[:, 0]} for part in (data.train, data.test)
    )


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("seed", range(3))
def test_site_that_names_the_patient_s_column_has_no_patient_on_both_sides(
    tmp_path: Path, write: Any, seed: int
) -> None:
    """Otherwise a model is measured on patients that it was trained on."""
    train, test = sides(write(tmp_path, visits()), tmp_path, group="patient", seed=seed)
    assert train & test == set()
    assert train | test == set(range(PATIENTS))


def test_patient_keeps_the_side_when_others_join(tmp_path: Path) -> None:
    """A patient in the test rows never moves to the training rows, as the table grows."""
    before = sides(write_csv(tmp_path, visits()), tmp_path, group="patient")
    after = sides(write_csv(tmp_path, visits(PATIENTS + 9)), tmp_path, group="patient")
    for one, other in zip(before, after, strict=True):
        assert one <= other
    assert after[0] & after[1] == set()


def test_patient_keeps_the_side_when_they_come_again(tmp_path: Path) -> None:
    """A fifth visit goes where the first four are."""
    before = sides(write_csv(tmp_path, visits()), tmp_path, group="patient")
    again = {"patient": "P003", "visit": 390, "pain": "mild", "outcome": 1}
    after = sides(write_csv(tmp_path, [*visits(), again]), tmp_path, group="patient")
    assert after == before


# ---------------------------------------------------------------- whose a row is

NUMBERS = range(2**53, 2**53 + PATIENTS)
SPELT = {
    "integers": list(NUMBERS),
    "text": [str(number) for number in NUMBERS],
    "padded": [f"00{number}" for number in NUMBERS],
    "decimals": [Decimal(number) for number in NUMBERS],
}


def write_german(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return write_csv(folder, rows, ";", decimal=",", encoding="latin-1")


def id_of(number: int) -> UUID:
    return UUID(int=0x0D4F2A6E_7C1B_4E5A_9F3D_8B6C5A4E0000 + number)


def born(number: int) -> date:
    return date(1950, 1, 1) + timedelta(days=17 * number)


#: How one export after another writes the same patients: who writes, and what of a number.
EXPORTS: dict[str, list[tuple[Any, Callable[[int], object]]]] = {
    "numbers": [
        (write_parquet, float),
        (write_german, "{},0".format),
        (write_csv, '="{}"'.format),
        (write_sqlite, "00{}".format),
    ],
    "UUIDs": [
        (write_csv, lambda number: str(id_of(number))),
        (write_parquet, lambda number: str(id_of(number)).upper()),
        (write_sqlite, lambda number: f"{{{id_of(number)}}}"),
    ],
    "names": [
        (write_csv, "Müller {}".format),
        (write_german, "MÜLLER {}".format),
        (write_sqlite, "mu\u0308ller  {} ".format),
    ],
    "days": [
        (write_parquet, born),
        (write_sqlite, lambda number: f"{born(number)} 00:00:00"),
        (write_csv, lambda number: f"{born(number)}T00:00"),
    ],
}


@pytest.mark.parametrize("kind", EXPORTS)
def test_people_are_the_same_from_every_export(tmp_path: Path, kind: str) -> None:
    """Otherwise a patient whose budget is spent would have a new one."""
    found = set()
    for write, spell in EXPORTS[kind]:
        rows = [row | {"patient": spell(1000 + row["visit"] // 100)} for row in visits()]
        found.add(load(write(tmp_path, rows), tmp_path, group="patient").people)
    assert len(found) == 1


def test_patient_s_number_that_a_float_cut_is_refused(tmp_path: Path) -> None:
    """As pandas writes a column of long numbers in which one is missing."""
    for first in (float(10**18), 2024.17):  # of the second, figures are lost in narrow columns
        rows = [row | {"patient": first + row["visit"] // 100} for row in visits()]
        with pytest.raises(SourceError, match="neither text nor an exact number"):
            load(write_parquet(tmp_path, rows), tmp_path, group="patient")


def test_people_are_the_same_from_every_source_and_spelling(tmp_path: Path) -> None:
    """So a privacy account does not begin again when a table comes in another format."""
    expected = None
    for spelling in SPELT.values():
        rows = [row | {"patient": spelling[row["visit"] // 100]} for row in visits()]
        random.Random(3).shuffle(rows)
        # Another name of the column, and columns that other studies use.
        rows = [{"mrn" if key == "patient" else key: row[key] for key in row} for row in rows]
        for write in WRITERS:
            if write is write_sqlite and isinstance(rows[0]["mrn"], Decimal):
                continue
            (tmp_path / "visits.db").unlink(missing_ok=True)
            data = load(write(tmp_path, rows), tmp_path, group="mrn")
            expected = expected or data.people
            assert data.people == expected
            assert set(data.people) | set(data.test.people) == set(map(person_of, NUMBERS))
            assert len(data.people) == len(data.train)


@pytest.mark.parametrize("start", ["2024.001", "1.001", "999.950", "1234567.001"])
def test_people_are_the_same_whatever_mark_a_table_declares(tmp_path: Path, start: str) -> None:
    """Nor where one export has its figures in threes: `1.234`, `1,234` and 1234."""
    people = [Decimal(start) + Decimal(patient) / 1000 for patient in range(PATIENTS)]
    people = [one for one in people if one % 1]
    rows = [row for row in visits() if row["visit"] // 100 < len(people)]
    comma = str.maketrans(",.", ".,")
    spellings = ["{:f}".format, "{:,f}".format, lambda one: f"{one:,f}".translate(comma)]
    found = []
    for spelling in spellings:
        spelt = [row | {"patient": spelling(people[row["visit"] // 100])} for row in rows]
        for write in (*WRITERS, write_decimal_commas):
            (tmp_path / "visits.db").unlink(missing_ok=True)
            data = load(write(tmp_path, spelt), tmp_path, group="patient")
            found.append((set(data.people), set(data.test.people)))
    exact = [row | {"patient": people[row["visit"] // 100]} for row in rows]
    data = load(write_parquet(tmp_path, exact), tmp_path, group="patient")
    assert found == [(set(data.people), set(data.test.people))] * len(found)


def write_decimal_commas(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return write_csv(folder, rows, ";", decimal=",")


def test_person_does_not_depend_on_the_columns_that_a_study_uses(tmp_path: Path) -> None:
    """Rows change with the features, and patients stay who they are."""
    source = write_csv(tmp_path, visits())
    whole = load(source, tmp_path, group="patient")
    part = load(
        source, tmp_path, group="patient", ignore=["pain"], name="others",
        features=[{"name": "visit", "type": "numeric"}],
    )  # fmt: skip
    assert set(part.people) == set(whole.people)
    assert set(part.test.people) == set(whole.test.people)


def test_row_of_a_site_that_names_no_patient_is_known_by_its_content(tmp_path: Path) -> None:
    """There is nothing else to know it by, so the guard keeps one account of the whole table."""
    data = load(write_csv(tmp_path, visits()), tmp_path, ignore=["patient"])
    assert data.train.groups is None
    assert len(set(data.people)) == len(data.train)


# ---------------------------------------------------------------- minima


def test_patient_counts_once_for_min_rows(tmp_path: Path) -> None:
    """Sixty visits of fifteen patients are fifteen."""
    source = write_csv(tmp_path, visits(15))
    with pytest.raises(SourceError, match="15 patients where 20 are needed"):
        load(source, tmp_path, group="patient")
    assert load(source, tmp_path, group="patient", min_rows=15).train.person_count < 15
    load(source, tmp_path, ignore=["patient"], min_rows=60)


def test_site_with_too_few_patients_on_a_side_says_so(tmp_path: Path) -> None:
    """One patient to train on is too few, however often that one came."""
    source = write_csv(tmp_path, visits(2))
    with pytest.raises(SourceError, match="All rows of one patient are on the same side") as said:
        load(source, tmp_path, group="patient", min_rows=2)
    assert "2 are different" in str(said.value)


def test_patient_counts_once_where_a_model_is_measured(tmp_path: Path) -> None:
    """Many visits of a few patients would let counts be about single patients."""
    data = load(write_sqlite(tmp_path, visits()), tmp_path, group="patient", test_share=0.5)
    people, rarest = data.test.person_count, int(data.test.class_counts.min())
    assert VISITS * people == len(data.test)
    enough = PolicyTable(measure_rows=people, measure_class_rows=rarest, measure_noise=0.0)
    _check_enough(data.test, enough)
    for more in ({"measure_rows": people + 1}, {"measure_class_rows": rarest + 1}):
        with pytest.raises(Refusal, match=f"{people} patients, {rarest} of the rarest class"):
            _check_enough(data.test, enough.model_copy(update=more))


# ---------------------------------------------------------------- cells that name nobody


@pytest.mark.parametrize("write", WRITERS)
def test_row_without_a_patient_is_missing_one(tmp_path: Path, write: Any) -> None:
    """It is left out or refused, like a row without any other value; rows of nobody are no one."""
    rows = visits()
    for row in rows[::10]:
        row["patient"] = ""
    source = write(tmp_path, rows)
    with pytest.raises(SourceError, match="column 'patient': missing values in 12 rows"):
        load(source, tmp_path, group="patient")
    data = load(source, tmp_path, group="patient", on_missing="drop")
    assert len(data.train) + len(data.test) == len(rows) - 12


def test_patient_s_column_is_nothing_else(tmp_path: Path) -> None:
    """It is read for its own sake, and no model learns from it."""
    source = write_csv(tmp_path, visits())
    for keys in (
        {"group": "visit"},
        {"group": "outcome"},
        {"group": "patient", "ignore": ["patient"]},
    ):
        with pytest.raises(ValidationError, match=f"column {keys['group']} is named twice"):
            load(source, tmp_path, **keys)
    with pytest.raises(SourceError, match="column 'Patient': it is missing, but column 1"):
        load(source, tmp_path, group="Patient")
    source = write_sqlite(tmp_path, visits())
    # SQLite takes the name of a column that is not there for a text, equal in all rows.
    with pytest.raises(SourceError, match="column 'person': it is missing"):
        load(source, tmp_path, group="person", ignore=["patient"])
