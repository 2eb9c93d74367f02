"""A small table of patients, and the places it can lie in."""

from __future__ import annotations

import csv
import sqlite3
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from wardround_client.sources.base import Place
from wardround_client.sources.settings import DataSettings

#: The content of wrong cells, which no message may show.
SECRET = "Jane Doe 8675309"

SCHEMA: dict[str, Any] = {
    "name": "patients",
    "features": [
        {"name": "age", "type": "numeric", "range": [0, 120], "unit": "years"},
        {"name": "pressure", "type": "numeric"},
        {"name": "pain", "type": "category", "categories": ["none", "mild", 3]},
        {"name": "smoker", "type": "boolean"},
    ],
    "label": {"column": "outcome", "classes": [[0], [1, 2]]},
    "ignore": ["patient"],
}
COLUMNS = ["patient", "age", "pressure", "pain", "smoker", "outcome"]

Row = dict[str, Any]


def patients(count: int = 60, seed: int = 0) -> list[Row]:
    """Rows that fit `SCHEMA`."""
    random = np.random.default_rng(seed)
    return [
        {
            "patient": f"P{number:04}",
            "age": int(random.integers(18, 95)),
            "pressure": round(float(random.normal(130, 15)), 1),
            "pain": ["none", "mild", "3"][random.integers(3)],
            "smoker": bool(random.integers(2)),
            "outcome": int(random.integers(3)),
        }
        for number in range(count)
    ]


def settings(source: Mapping[str, Any], **changes: Any) -> DataSettings:
    return DataSettings.model_validate({**SCHEMA, "source": dict(source), **changes})


def place(folder: Path, **environment: str) -> Place:
    return Place(folder, environment)


def write_csv(folder: Path, rows: list[Row], *, delimiter: str = ",") -> dict[str, Any]:
    with (folder / "patients.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return {"type": "csv", "path": "patients.csv"}


def write_parquet(folder: Path, rows: list[Row]) -> dict[str, Any]:
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "patients.parquet")
    return {"type": "parquet", "path": "patients.parquet"}


CREATE = """create table patients (patient text, age integer, pressure double precision,
                                   pain text, smoker boolean, outcome integer)"""


def write_sqlite(folder: Path, rows: list[Row]) -> dict[str, Any]:
    connection = sqlite3.connect(folder / "patients.db")
    with connection:
        connection.execute(CREATE)
        names = ", ".join(f":{name}" for name in COLUMNS)
        connection.executemany(f"insert into patients values ({names})", rows)
    connection.close()
    return {"type": "sql", "url": "sqlite:///patients.db", "table": "patients"}


def everything_said(error: BaseException) -> str:
    """All that an error and the errors behind it could ever print."""
    text, seen, ahead = "", set(), [error]
    while ahead:
        one = ahead.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        text += "".join(traceback.format_exception(one)) + repr(one) + repr(vars(one))
        ahead += [one.__cause__, one.__context__]
    return text
