"""The published figure of FLamby's Fed-Heart-Disease, through the whole product."""

from __future__ import annotations

from pathlib import Path

import pytest

from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround_simulations.run import simulate
from wardround_simulations.scenario import load_scenario


@pytest.mark.deep
def test_four_hospitals_when_run_reach_the_published_accuracy(
    heart_folder: Path, tmp_path: Path
) -> None:
    scenario, text = load_scenario("four-hospitals")
    results = simulate(scenario, text, tmp_path / "run", data_dir=heart_folder)
    final = results.summary["final"]
    assert len(results.rounds) == 50
    assert set(final["accuracy"]) == {"cleveland", "hungarian", "switzerland", "long-beach-va"}
    # 0.7115 is FedAvg's average over the four test sets with this recipe.
    assert final["average_accuracy"] == pytest.approx(0.7115, abs=0.01)
    assert all(row["dropped"] == [] and len(row["contributors"]) == 4 for row in results.rounds)
    first, last = results.rounds[0], results.rounds[-1]
    assert last["pooled_log_loss"] < first["pooled_log_loss"]
    with open_run(tmp_path / "run") as opened:
        audit = StudyAudit(opened.contract, opened.study, opened.store)
        models = ["0x" + one.settlement.model.root.hex() for one in audit.rounds()]
        # Specification, first model; each round four updates and reports, manifest, model.
        assert audit.check_objects() == 2 + 50 * 10
    assert models == [row["model"] for row in results.rounds]
