"""From rows to what is trained on: the same bits from everywhere, in whatever order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.client.sources.conftest import Cluster
from tests.client.sources.tables import (
    COLUMNS,
    CREATE,
    patients,
    place,
    settings,
    write_csv,
    write_parquet,
    write_sqlite,
)
from tests.learning.networks import named_model
from wardround.learning.datasets import load_dataset
from wardround.learning.datasets.people import digests_of
from wardround.learning.errors import DataError
from wardround.learning.models import flatten
from wardround.learning.training import train_locally
from wardround.protocol.study import TrainingSpec
from wardround_client.sources.errors import SourceError
from wardround_client.sources.prepare import divide, load_site_data
from wardround_client.sources.rows import Rows


def load(source: dict[str, Any], folder: Path, environment: Any = None, **changes: Any) -> Any:
    return load_site_data(settings(source, **changes), place(folder, **(environment or {})))


def bits(data: Any) -> tuple[bytes, ...]:
    parts = (data.train, data.test)
    return tuple(array.tobytes() for part in parts for array in (part.features, part.labels))


def test_data_when_loaded_is_scaled_by_its_training_rows(tmp_path: Path) -> None:
    data = load(write_csv(tmp_path, patients(200)), tmp_path)
    train, test = data.train.features.astype(np.float64), data.test.features
    assert data.name == "patients"
    assert train.shape[1] == test.shape[1] == 5
    assert train[:, :2].mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert train[:, :2].std(axis=0, ddof=1) == pytest.approx([1, 1], abs=1e-6)
    assert test[:, :2].mean(axis=0) != pytest.approx([0, 0], abs=1e-6)
    assert set(np.unique(train[:, 2:])) == {0, 1}
    # Each row has at most one kind of pain, and of three kinds the first has no column.
    assert set(train[:, 2:4].sum(axis=1)) == {0, 1}
    assert len(train) + len(test) == 200
    assert 30 < len(test) < 70
    assert set(data.train.labels) == {0, 1}


def test_data_when_scaled_by_range_depends_on_no_other_row(tmp_path: Path) -> None:
    features = settings({"type": "csv", "path": ""}).model_dump()["features"]
    features[1]["range"] = [60, 260]
    changes = {"features": features, "scaling": "range"}
    rows = patients(100)
    before = load(write_csv(tmp_path, rows), tmp_path, **changes)
    expected = {(row["age"] - 60) / 60 for row in rows}
    found = np.concatenate([before.train.features[:, 0], before.test.features[:, 0]])
    assert sorted(set(found.tolist())) == pytest.approx(sorted(expected), abs=1e-6)
    assert np.abs(before.train.features).max() <= 1
    # One patient more: all the others stand where they stood, with the same numbers.
    more = [*rows, {**rows[0], "age": 119, "pressure": 259.5}]
    after = load(write_csv(tmp_path, more), tmp_path, **changes)
    for one, other in ((before.train, after.train), (before.test, after.test)):
        there = {row.tobytes() for row in other.features}
        assert all(row.tobytes() in there for row in one.features)
    assert len(after.train) + len(after.test) == 101
    assert abs(len(after.train) - len(before.train)) + abs(len(after.test) - len(before.test)) == 1


def test_data_when_not_scaled_is_as_it_stands(tmp_path: Path) -> None:
    data = load(write_csv(tmp_path, patients(100)), tmp_path, scaling="none")
    found = sorted([*data.train.features[:, 0], *data.test.features[:, 0]])
    assert found == sorted(row["age"] for row in patients(100))


def test_data_when_from_another_source_or_in_another_order_has_equal_bits(
    tmp_path: Path, postgresql: Cluster
) -> None:
    rows = patients(120)
    mixed = rows.copy()
    random.Random(3).shuffle(mixed)
    marks = ", ".join(["%s"] * len(COLUMNS))
    postgresql.run(
        "drop table if exists mixed",
        CREATE.replace("patients", "mixed"),
        (f"insert into mixed values ({marks})", [tuple(row.values()) for row in mixed]),
    )
    expected = bits(load(write_csv(tmp_path, rows), tmp_path))
    assert bits(load(write_csv(tmp_path, mixed), tmp_path)) == expected
    assert bits(load(write_parquet(tmp_path, mixed), tmp_path)) == expected
    assert bits(load(write_sqlite(tmp_path, mixed), tmp_path)) == expected
    source = {"type": "sql", "url_variable": "URL", "table": "mixed"}
    assert bits(load(source, tmp_path, {"URL": postgresql.url()})) == expected
    assert bits(load(write_csv(tmp_path, rows), tmp_path, seed=1)) != expected


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=40),
    st.floats(0.05, 0.95),
    st.integers(0, 2**53 - 1),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_division_when_a_row_is_added_moves_no_other(pairs: Any, share: float, seed: int) -> None:
    values = np.array(pairs, dtype=np.float64)
    train, test = (values[part] for part in divide(Rows(values, 0, {}), share, seed))
    assert len(train) + len(test) == len(values)
    # Equal rows are on one side.
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}
    fewer_train, fewer_test = divide(Rows(values[:-1], 0, {}), share, seed)
    lost = [len(train) - len(fewer_train), len(test) - len(fewer_test)]
    assert sorted(lost) == [0, 1]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=40),
    st.floats(0.05, 0.95),
    st.integers(0, 2**53 - 1),
    st.randoms(),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_division_of_patients_follows_from_each_alone(
    visits: Any, share: float, seed: int, chance: random.Random
) -> None:
    def sides(visits: Any) -> tuple[Any, ...]:
        people = digests_of(patient for patient, _ in visits)
        values = np.array([[value] for _, value in visits], dtype=np.float64)
        parts = divide(Rows(values, 0, {}, people), share, seed)
        return tuple(
            [(bytes(people[at]), float(values[at, 0])) for at in part.tolist()] for part in parts
        )

    train, test = sides(visits)
    assert len(train) + len(test) == len(visits)
    assert not {patient for patient, _ in train} & {patient for patient, _ in test}
    # Neither the others nor the order of the table decide anything; nor does what a visit holds.
    mixed = visits.copy()
    chance.shuffle(mixed)
    assert sides(mixed) == (train, test)
    fewer = sides(mixed[:-1])
    assert all(set(part) <= set(whole) for part, whole in zip(fewer, (train, test), strict=True))
    other = sides([(patient, value + 100) for patient, value in visits])
    assert {patient for patient, _ in other[0]} == {patient for patient, _ in train}


def test_division_when_measured_keeps_to_its_share() -> None:
    values = np.random.default_rng(0).standard_normal((20_000, 3))
    for seed in range(3):
        _, test = divide(Rows(values, 0, {}), 0.25, seed)
        assert len(test) / 20_000 == pytest.approx(0.25, abs=0.015)


def test_data_when_there_are_too_few_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load(write_csv(tmp_path, []), tmp_path)
    with pytest.raises(SourceError, match="1 rows where 20 are needed"):
        load(write_csv(tmp_path, patients(1)), tmp_path)
    with pytest.raises(SourceError, match="1 rows where 2 are needed"):
        load(write_csv(tmp_path, patients(1)), tmp_path, min_rows=2)
    rows = [patients(1)[0]] * 30
    with pytest.raises(SourceError, match=r"Equal rows are on the same side"):
        load(write_csv(tmp_path, rows), tmp_path)


def test_data_when_loaded_can_be_trained_on(tmp_path: Path) -> None:
    config = settings(write_csv(tmp_path, patients(100)))
    data = load_site_data(config, place(tmp_path))
    model = named_model("logistic", {"features": config.width}, seed=0)
    result = train_locally(
        model, flatten(model), data.train, TrainingSpec(learning_rate=0.1, local_steps=5), seed=0
    )
    assert result.examples == len(data.train)


HEADER = "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,num"


def test_data_when_it_is_a_real_hospital_s_agrees_with_the_bundled_preparation(
    tmp_path: Path,
) -> None:
    import os

    folder = Path(os.environ.get("WARDROUND_DATA_DIR", "nowhere"))
    found = [*folder.glob("**/processed.cleveland.data")]
    if not found:
        pytest.skip("no heart files: set WARDROUND_DATA_DIR to their folder")
    text = HEADER + "\n" + found[0].read_text("ascii")
    (tmp_path / "cleveland.csv").write_text(text, encoding="utf-8")
    numbers = ["age", "trestbps", "chol", "thalach", "oldpeak"]
    features = [{"name": name, "type": "numeric", "range": [0, 700]} for name in numbers]
    features += [{"name": name, "type": "boolean"} for name in ("sex", "fbs", "exang")]
    features += [
        {"name": "cp", "type": "category", "categories": [1, 2, 3, 4]},
        {"name": "restecg", "type": "category", "categories": [0, 1, 2]},
    ]
    changes = {
        "features": features,
        "label": {"column": "num", "classes": [[0], [1, 2, 3, 4]]},
        "ignore": ["slope", "ca", "thal"],
        "missing": ["?"],
        "on_missing": "drop",
        "scaling": "none",
    }
    data = load({"type": "csv", "path": "cleveland.csv"}, tmp_path, **changes)
    site = next(one for one in load_dataset("heart").sites if one.name == "cleveland")
    ours = np.concatenate([data.train.labels, data.test.labels])
    theirs = np.concatenate([site.train.labels, site.test.labels])
    assert len(ours) == len(theirs) == 303
    assert ours.sum() == theirs.sum() == 139
