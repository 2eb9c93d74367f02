"""The four hospitals through the whole product: how good the model gets, and who stays hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.calling import Call
from tests.leak.readings import made_the_old_way
from tests.leak.runs import run_of
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround_simulations.results import Results
from wardround_simulations.run import simulate
from wardround_simulations.scenario import load_scenario

# A whole run and all attacks take a minute of one core, and other tests share it.
pytestmark = [pytest.mark.deep, pytest.mark.timeout(900)]

#: Zurich and Basel, the smallest.
SITE, ROWS = "switzerland", 30


@pytest.fixture(scope="module")
def finished(heart_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """The scenario's run, and what it printed."""
    folder = tmp_path_factory.mktemp("four-hospitals") / "run"
    scenario, text = load_scenario("four-hospitals")
    return folder, simulate(scenario, text, folder, data_dir=heart_folder)


def found(out: str, attack: str) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in out.splitlines()]
    return {one["site"]: one for one in lines if one["attack"] == attack}


def test_model_reaches_the_published_accuracy(finished: tuple[Path, Results]) -> None:
    """That of FLamby's Fed-Heart-Disease."""
    folder, results = finished
    final = results.summary["final"]
    assert len(results.rounds) == 50
    assert set(final["accuracy"]) == {"cleveland", "hungarian", "switzerland", "long-beach-va"}
    # 0.7115 is FedAvg's average over the four test sets with this recipe.
    assert final["average_accuracy"] == pytest.approx(0.7115, abs=0.01)
    assert all(row["dropped"] == [] and len(row["contributors"]) == 4 for row in results.rounds)
    first, last = results.rounds[0], results.rounds[-1]
    assert last["pooled_log_loss"] < first["pooled_log_loss"]
    with open_run(folder) as opened:
        audit = StudyAudit(opened.contract, opened.study, opened.store)
        models = ["0x" + one.record.model.hex() for one in audit.rounds()]
        # Specification, first model; each round four updates and reports, manifest, model.
        assert audit.check_objects() == 2 + 50 * 10
    assert models == [row["model"] for row in results.rounds]


def test_every_patient_stays_hidden(call: Call, finished: tuple[Path, Results]) -> None:
    """A coordinator tries all that a reader does, and the measures besides."""
    out = call("leak", finished[0], "--as", "coordinator", "--json").good
    for attack in (
        "public order",
        "linear system",
        "chosen models",
        "row alone in a unit",
        "adaptive measures",
    ):
        tried = [one for one in found(out, attack).values() if one["tried"]]
        assert all(one["rebuilt"] == 0 for one in tried)
    # The one hospital whose rows are few enough to solve for, and whose order is the secret.
    assert found(out, "public order")[SITE]["tried"]
    assert found(out, "linear system")[SITE]["tried"]


def test_thirty_of_thirty_patients_are_rebuilt_where_training_is_as_it_was(
    call: Call, heart_folder: Path, tmp_path: Path
) -> None:
    scenario, _ = load_scenario("four-hospitals")
    run_of(scenario, tmp_path / "old", made_the_old_way, heart_folder)
    ended = call("leak", tmp_path / "old", "--json")
    assert ended.status == 1
    smallest = found(ended.out, "public order")[SITE]
    assert (smallest["rebuilt"], smallest["rows"]) == (ROWS, ROWS)
    assert smallest["error"] < 1e-3
