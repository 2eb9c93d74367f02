"""The four hospitals, made the old way and as they train today, read by a command without a key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.calling import Call
from tests.leak.readings import made_the_old_way
from tests.leak.runs import run_of
from wardround.learning.datasets import DATA_DIR_VARIABLE
from wardround_simulations.run import simulate
from wardround_simulations.scenario import load_scenario

# A whole run and all attacks take a minute of one core, and other tests share it.
pytestmark = [pytest.mark.deep, pytest.mark.timeout(1200)]

#: Zurich and Basel, the smallest.
SITE, ROWS = "switzerland", 30


@pytest.fixture(scope="module")
def heart() -> Path:
    named = os.environ.get(DATA_DIR_VARIABLE)
    if not named:
        pytest.skip(f"no heart files: set {DATA_DIR_VARIABLE} to their folder")
    return Path(named)


def found(out: str, attack: str) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in out.splitlines()]
    return {one["site"]: one for one in lines if one["attack"] == attack}


def test_four_hospitals_made_the_old_way_give_thirty_of_thirty_patients_away(
    call: Call, heart: Path, tmp_path: Path
) -> None:
    scenario, _ = load_scenario("four-hospitals")
    run_of(scenario, tmp_path / "old", made_the_old_way, heart)
    ended = call("leak", tmp_path / "old", "--json")
    assert ended.status == 1
    smallest = found(ended.out, "public order")[SITE]
    assert (smallest["rebuilt"], smallest["rows"]) == (ROWS, ROWS)
    assert smallest["error"] < 1e-3


@pytest.mark.parametrize("role", ["reader", "coordinator"])
def test_four_hospitals_as_they_train_today_keep_every_patient(
    call: Call, heart: Path, tmp_path: Path, role: str
) -> None:
    scenario, text = load_scenario("four-hospitals")
    simulate(scenario, text, tmp_path / "honest", data_dir=heart)
    out = call("leak", tmp_path / "honest", "--as", role, "--json").good
    for attack in ("public order", "linear system", "row alone in a unit", "adaptive measures"):
        tried = [one for one in found(out, attack).values() if one["tried"]]
        assert all(one["rebuilt"] == 0 for one in tried)
    # The one hospital whose rows are few enough to solve for, and whose order is the secret.
    assert found(out, "public order")[SITE]["tried"]
    assert found(out, "linear system")[SITE]["tried"]
