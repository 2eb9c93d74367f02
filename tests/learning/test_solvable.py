"""The count of published numbers against unknown ones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.integration.networks import own_scenario, small_scenario
from wardround.learning.solvable import EPSILON_MAX, Solvability, equations, solvable, unknowns
from wardround.protocol.study import StudySpec


def study(rounds: int, **training: Any) -> StudySpec:
    chosen = {"learning_rate": 0.01, "batch_size": 4, "local_steps": 100, "local_epochs": None}
    scenario = small_scenario(study={"rounds": rounds}, training={**chosen, **training})
    return scenario.specification


def clear(spec: StudySpec, rows: int, *, losses: bool = False, parameters: int = 14) -> Solvability:
    return solvable(
        spec, parameters=parameters, rows=rows, features=13, epsilon=None, losses=losses
    )


def test_four_hospitals_when_fifty_rounds_are_public_give_the_smallest_away() -> None:
    """50 updates of 14 numbers: enough for Zurich and Basel's 30 rows, and for 50 of 199."""
    spec = study(50)
    small, large = clear(spec, 30), clear(spec, 199)
    assert (small.equations, small.unknowns) == (700, 420)
    assert small.suffices
    assert "700 published numbers against 420" in small.explanation
    assert "secret order" in small.explanation
    assert large.suffices
    assert "up to 50 of your 199 rows may be rebuilt" in large.explanation


@pytest.mark.parametrize(("rounds", "whole"), [(29, False), (30, True)])
def test_table_when_equations_are_as_many_as_unknowns_is_solvable_as_a_whole(
    rounds: int, whole: bool
) -> None:
    assert equations(14, 30) == unknowns(30, 13)
    found = clear(study(rounds), 30)
    assert (found.rows_at_risk == 30) is whole
    assert ("may be rebuilt" in found.explanation) is not whole


@pytest.mark.parametrize("batch", [0, 4])
def test_clear_study_needs_acceptance_as_soon_as_one_row_has_no_more_numbers(batch: int) -> None:
    """A coordinator that chooses models takes single rows, whatever the batches are."""
    spec = study(25, batch_size=batch)
    assert clear(spec, 30).rows_at_risk == 25
    assert clear(spec, 30).suffices
    assert clear(spec, 10**6).suffices
    one_short = clear(study(1), 10**6, parameters=13)
    assert not one_short.suffices
    assert "fewer than a row has" in one_short.explanation


def test_losses_when_reports_state_them_are_counted() -> None:
    assert clear(study(28), 30, losses=True).rows_at_risk == 30
    assert clear(study(28), 30).rows_at_risk == 28
    noise = {"noise_multiplier": 5, "max_grad_norm": 1, "delta": 1e-5}
    spec = small_scenario(study={"rounds": 28}, privacy=noise).specification
    assert clear(spec, 30, losses=True).equations == 28 * 14


@pytest.mark.parametrize(("batch", "whole"), [(0, True), (30, True), (64, True), (29, False)])
def test_full_batch_when_a_step_takes_all_rows(batch: int, whole: bool) -> None:
    spec = study(50, batch_size=batch)
    found = clear(spec, 30)
    assert found.full_batch is whole
    assert ("takes all of them" in found.explanation) is whole


def test_private_training_is_solvable_from_an_epsilon_on_that_bounds_little() -> None:
    for epsilon, private, words in (
        (1.0, True, "epsilon is at most 1: whatever is tried on you, a guess about one patient"),
        (EPSILON_MAX, True, "becomes right with at most 99.995%"),
        (10.01, False, "over all rounds it allows epsilon 10.01, and only up to 10"),
        (20_854.0, False, "it allows epsilon 20,854, and"),
        (math.inf, False, "it allows epsilon inf, and"),
    ):
        found = Solvability(10**6, 10, 5, full_batch=True, own_code=False, epsilon=epsilon)
        assert found.suffices is not private
        assert words in found.explanation
        assert ("keeps them from being solved" in found.explanation) is private


@pytest.mark.parametrize(
    "privacy", [None, {"noise_multiplier": 5, "max_grad_norm": 1, "delta": 1e-5}]
)
@pytest.mark.parametrize(
    ("rows", "at_risk"), [(40, "40 of your 40"), (10**6, "103 of your 1,000,000")]
)
def test_own_code_is_solvable_whatever_noise_is_asked_and_however_many_rows_there_are(
    privacy: dict[str, float] | None, rows: int, at_risk: str
) -> None:
    """Code of a study's own picks the rows, and runs where the noise is added."""
    spec = own_scenario({"model.py": b""}, privacy=privacy).specification
    epsilon = None if privacy is None else 1.0
    found = solvable(spec, parameters=241, rows=rows, features=6, epsilon=epsilon, losses=False)
    assert found.suffices
    assert f"own code could write up to {at_risk} rows there" in found.explanation
