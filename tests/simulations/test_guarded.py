"""A rule of the guard is in force in a simulation, and its refusal is the one a hospital gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.client.guard import conftest as hospital
from tests.integration.networks import prepared, run, small_scenario
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import genesis_closing
from wardround.protocol.study import PrivacySpec
from wardround_client.errors import Refusal
from wardround_client.guard.client import GuardClient, guard_of
from wardround_client.guard.guard import Guard
from wardround_client.guard.log import read_log
from wardround_simulations.network import Network
from wardround_simulations.scenario import Scenario

BOUND = 1e-6
STRICT = {"site-2": {"max_update_norm": BOUND}}


def refusals(folder: Path, site: str = "site-2") -> list[tuple[str, str]]:
    """Name and words of what a site's guard refused."""
    lines = read_log(folder / "sites" / site / "guard.log")
    return [(line["error"], line["words"]) for line in lines if line["kind"] == "refused"]


def left_out(rounds: list[dict[str, Any]]) -> list[list[str]]:
    return [[row["site"] for row in one["dropped"]] for one in rounds]


def test_update_longer_than_the_sites_policy_allows_is_withheld_in_process(tmp_path: Path) -> None:
    results = run(small_scenario(study={"rounds": 2}, policy=STRICT), tmp_path / "run")
    assert left_out(results.rounds) == [["site-2"]] * 2
    assert all(len(one["contributors"]) == 2 for one in results.rounds)
    found = refusals(tmp_path / "run")
    # A site without a part in a round does not measure its model.
    assert {name for name, _ in found} == {"trainer-failed", "not-a-contributor"}
    assert all("an update of norm" in words for name, words in found if name != "not-a-contributor")
    assert not refusals(tmp_path / "run", "site-1")


def test_refusal_is_the_one_that_a_hospital_gives(tmp_path: Path) -> None:
    """The same rows and policy, behind a hospital's socket and in a simulation's process."""
    scenario = small_scenario(policy={"site-1": {"max_update_norm": BOUND}})
    with prepared(scenario, tmp_path / "network") as network:
        simulated = guard_of(network.home(network.parties[0]))
        assert isinstance(simulated, Guard)
        with pytest.raises(Refusal) as here:
            simulated.train(task_of(network), network.initial.values)
        secret = simulated.home.read_secret()
        policy = f"max_update_norm = {BOUND}"
        home = hospital.make(network, tmp_path / "home", secret=secret, policy=policy)
        hospital.approve(network, home)
        with hospital.guarded(network, home):
            behind = guard_of(home)
            assert isinstance(behind, GuardClient)
            with pytest.raises(Refusal) as there:
                behind.train(task_of(network), network.initial.values)
    assert (here.value.name, here.value.words) == (there.value.name, there.value.words)


def task_of(network: Network) -> TrainTask:
    spec = canonical_bytes(network.scenario.specification.document())
    return TrainTask(network.params, genesis_closing(network.params.initial_model), 1, spec)


def test_site_whose_budget_forbids_the_study_does_not_approve_it(tmp_path: Path) -> None:
    """A table with a budget takes part in private studies only."""
    scenario = small_scenario(study={"rounds": 1}, policy={"site-3": {"max_epsilon": 5.0}})
    results = run(scenario, tmp_path / "run")
    assert left_out(results.rounds) == [["site-3"]]
    assert {name for name, _ in refusals(tmp_path / "run", "site-3")} == {"study-not-approved"}
    assert not list((tmp_path / "run" / "sites" / "site-3" / "approvals").iterdir())


def private(**tables: Any) -> Scenario:
    privacy = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-3)
    return small_scenario(**tables).model_copy(update={"privacy": privacy})


def test_budget_when_it_is_spent_ends_the_sites_part(tmp_path: Path) -> None:
    """The first round is within the budget, and the second is not."""
    budget = {"site-1": {"max_epsilon": 6.5, "delta": 1e-6}}
    results = run(private(study={"rounds": 3}, policy=budget), tmp_path / "run")
    out = left_out(results.rounds)
    assert out[0] == []
    assert out[-1] == ["site-1"]
    found = {name for name, _ in refusals(tmp_path / "run", "site-1")}
    assert found == {"budget-exhausted", "not-a-contributor"}


def test_private_study_when_simulated_again_has_the_same_models(tmp_path: Path) -> None:
    """Its noise comes from the simulation's key, though the sites' keys and contract are new."""
    first, second = (run(private(study={"rounds": 1}), tmp_path / name) for name in ("a", "b"))
    assert first.rounds[0]["model"] == second.rounds[0]["model"]
    assert first.summary["study"] != second.summary["study"]
