"""A patient who came several times is on one side: trained on, or measured on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from wardround_client.sources.base import Place
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


def write_csv(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    with (folder / "visits.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return {"type": "csv", "path": "visits.csv"}


def write_parquet(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "visits.parquet")
    return {"type": "parquet", "path": "visits.parquet"}


def sides(source: dict[str, Any], folder: Path, **keys: Any) -> tuple[set[int], set[int]]:
    """Patients who are trained on, and those who are measured on, by their visits' numbers."""
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
    data = load_site_data(DataSettings.model_validate(declared | keys), Place(folder, {}))
    assert data.train.features.shape[1] == 2, "a patient's number is no input of a model"
    return tuple(
        {int(visit) // 100 for visit in part.features[:, 0]} for part in (data.train, data.test)
    )


@pytest.mark.parametrize("write", [write_csv, write_parquet])
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
