"""Private studies take rows that were scaled by declared ranges, from wherever they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.client.sources.tables import SCHEMA
from tests.integration.networks import prepared, small_scenario
from wardround.learning.datasets.table import Table, load_table, save_table
from wardround.learning.errors import DataError
from wardround.protocol.identifiers import StudyId
from wardround.protocol.study import PrivacySpec, StudySpec
from wardround_client.errors import Refusal
from wardround_client.guard.budget import check_private_enough
from wardround_client.guard.tables import load_home_data
from wardround_client.settings import HomeSettings

STUDY = StudyId(b"\x05" * 32)
PRIVACY = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-3)
PREPARED = {"name": "patients", "train": "train.npz", "test": "test.npz"}
TABLE = {**SCHEMA, "source": {"type": "csv", "path": "x.csv"}}
RANGED = [{"name": "age", "type": "numeric", "range": [0, 120]}]


def home(data: dict[str, Any]) -> HomeSettings:
    value = {
        "site": {"name": "mercy"},
        "chain": {"endpoints": ["x"], "chain_id": 1, "contract": "0x" + "ab" * 20},
        "data": data,
    }
    return HomeSettings.model_validate(value)


def study(privacy: PrivacySpec | None = PRIVACY) -> StudySpec:
    return small_scenario().specification.model_copy(update={"privacy": privacy})


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (TABLE, 'scaling = "rows" in'),
        (TABLE | {"scaling": "none"}, 'write scaling = "range"'),
        (PREPARED, r"write range in \[data\]"),
    ],
)
def test_private_study_refuses_rows_that_are_not_scaled_by_declared_ranges(
    data: dict[str, Any], hint: str
) -> None:
    with pytest.raises(Refusal, match=hint) as refusal:
        check_private_enough(study(), STUDY, home(data))
    assert refusal.value.name == "privacy-refused"
    check_private_enough(study(None), STUDY, home(data))


@pytest.mark.parametrize(
    "data", [TABLE | {"features": RANGED, "scaling": "range"}, PREPARED | {"range": [-1.0, 1.0]}]
)
def test_private_study_takes_rows_that_are(data: dict[str, Any]) -> None:
    check_private_enough(study(), STUDY, home(data))


def test_prepared_rows_beyond_the_declared_range_are_refused(tmp_path: Path) -> None:
    features = np.random.default_rng(0).uniform(-1, 1, (30, 3)).astype(np.float32)
    largest = np.abs(features).max()
    for name in ("train.npz", "test.npz"):
        save_table(Table(features, np.zeros(30, np.int64)), tmp_path / name)
    # As a person writes it, to a few digits more than float32 has.
    settings = home(PREPARED | {"range": [-float(largest), float(str(largest))]})
    load_home_data(tmp_path, settings, {})
    features[:2, 0] = np.nextafter(largest, np.float32(np.inf))
    save_table(Table(features, np.zeros(30, np.int64)), tmp_path / "test.npz")
    with pytest.raises(DataError, match="2 rows have a feature outside of the declared") as refusal:
        load_home_data(tmp_path, settings, {})
    assert str(features[0, 1]) not in str(refusal.value)


def test_simulated_sites_keep_to_the_range_that_a_scenario_declares(tmp_path: Path) -> None:
    with prepared(small_scenario(data={"range": [-1.0, 0.5]}), tmp_path / "network") as network:
        for party in network.parties:
            folder = network.folders.sites / party.name
            for name in ("train.npz", "test.npz"):
                features = load_table(folder / name).features
                assert (features.min(), features.max()) == (-1.0, 0.5)
            assert network.home(party).settings().data.range == [-1.0, 0.5]
