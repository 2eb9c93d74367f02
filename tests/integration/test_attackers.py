"""Twelve hospitals, seven bad in seven ways, one away at times: the study holds and learns."""

from __future__ import annotations

import pytest

from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround_simulations.results import Results
from wardround_simulations.run import simulate
from wardround_simulations.scenario import Scenario, load_scenario

DROPPED = {
    "site-03": "range",
    "site-04": "malformed",
    "site-06": "examples",
    "site-07": "signature",
}
AWAY = {2, 3}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("attackers")[0]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario) -> Results:
    folder = tmp_path_factory.mktemp("attackers") / "run"
    return simulate(scenario, load_scenario("attackers")[1], folder)


def test_attacks_when_the_scenario_is_read_are_all_there(scenario: Scenario) -> None:
    attacks = {row.attack for row in scenario.behaviour if row.attack}
    assert attacks == {
        "label_flip", "sign_flip", "scaled", "nan", "copied_update", "inflated_weight",
        "forged_signature",
    }  # fmt: skip


def test_attackers_when_they_can_be_told_are_dropped_each_for_its_reason(
    results: Results,
) -> None:
    for row in results.rounds:
        expected = dict(DROPPED)
        if row["round"] > 1:  # there is nothing to copy before
            expected["site-05"] = "copied_update"
        if row["round"] in AWAY:
            expected["site-08"] = "unavailable"
        assert {drop["site"]: drop["reason"] for drop in row["dropped"]} == expected
        assert not expected.keys() & set(row["contributors"])
        assert not expected.keys() & row["rewards"].keys()
        assert len(row["contributors"]) + len(expected) == 12


def test_attackers_when_they_cannot_be_told_are_paid_by_weight_as_all(results: Results) -> None:
    for row in results.rounds:
        assert {"site-01", "site-02"} <= set(row["contributors"])
        assert row["rewards"].keys() == set(row["contributors"])
        assert all(int(share) > 0 for share in row["rewards"].values())


def test_site_when_away_in_some_rounds_is_back_in_the_others(results: Results) -> None:
    present = {row["round"] for row in results.rounds if "site-08" in row["contributors"]}
    assert present == {1, 4, 5, 6}
    assert all("site-08" not in row["accuracy"] for row in results.rounds if row["round"] in AWAY)


def test_model_when_most_of_its_sites_are_bad_learns_all_the_same(results: Results) -> None:
    assert results.summary["final"]["pooled_accuracy"] > 0.9
    assert results.rounds[-1]["pooled_log_loss"] < 0.6 * results.rounds[0]["pooled_log_loss"]


def test_rounds_when_replayed_hold_with_everyone_in_one_list(results: Results) -> None:
    with open_run(results.folder) as opened:
        audit = StudyAudit(opened.contract, opened.study, opened.store)
        rounds = list(audit.rounds())
    assert len(rounds) == 6
    sites = set(opened.file.sites.values())
    for audited in rounds:
        manifest = audited.manifest
        contributed = {row.site for row in manifest.contributions}
        dropped = {row.site for row in manifest.dropped}
        assert contributed | dropped == sites
        assert not contributed & dropped
        assert all(row.evidence for row in manifest.dropped)
