"""Rows from updates whose order is public, and from updates that take all rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.leak.readings import (
    Training,
    kept_secret,
    made_the_old_way,
    reading_of,
    scenario_of,
    seeded_in_public,
    sites_of,
    truths_of,
)
from wardround.leak.order import (
    OnStep,
    batches,
    drawn,
    guess_public_order,
    public_seed,
    shuffled,
    solve_whole_table,
)
from wardround.leak.outcome import AttackOutcome, Truth
from wardround.leak.reading import Reading
from wardround.leak.replay import LogisticReplay
from wardround.protocol.study import StudySpec, TrainingSpec

ROWS, FEATURES, SITE = 8, 3, "site-1"
BATCHES = {"learning_rate": 0.05, "batch_size": 3, "local_steps": 4, "local_epochs": None}
WHOLE = {"learning_rate": 1.0, "batch_size": 0, "local_steps": 5, "local_epochs": None}

Attempt = Callable[[Reading, str, Truth, OnStep], AttackOutcome]


def nothing(words: str) -> None:
    pass


def attacked(training: Training) -> tuple[Reading, Truth]:
    scenario = scenario_of(ROWS, FEATURES, 20, training=BATCHES)
    spec, sites = scenario.specification, sites_of(scenario)
    return reading_of(spec, sites, training), truths_of(sites)[SITE]


@pytest.mark.parametrize("training", [made_the_old_way, seeded_in_public])
def test_rows_when_the_order_is_public_are_all_rebuilt(training: Training) -> None:
    reading, truth = attacked(training)
    guessed = guess_public_order(reading, SITE, truth, nothing)
    assert guessed.leak
    assert (guessed.rebuilt, guessed.rows) == (ROWS, ROWS)
    assert guessed.error is not None
    assert guessed.error < 1e-3


@pytest.mark.parametrize("attempt", [guess_public_order, solve_whole_table])
def test_rows_when_the_order_is_secret_are_not_rebuilt(attempt: Attempt) -> None:
    reading, truth = attacked(kept_secret)
    found = attempt(reading, SITE, truth, nothing)
    assert found.tried
    assert not found.leak
    assert found.rebuilt == 0
    assert found.missed is not None
    assert found.missed > 100


@pytest.mark.parametrize("training", [made_the_old_way, kept_secret])
def test_fit_when_no_table_is_there_is_judged_by_its_residual(training: Training) -> None:
    reading, _ = attacked(training)
    found = guess_public_order(reading, SITE, Truth(), nothing)
    assert found.leak is (training is made_the_old_way)
    assert found.rebuilt is None
    assert found.missed is not None
    assert "no table is here to judge by" in found.words


def test_rows_when_each_step_takes_all_of_them_are_rebuilt_without_an_order() -> None:
    scenario = scenario_of(4, 3, 20, training=WHOLE)
    sites = sites_of(scenario)
    reading = reading_of(scenario.specification, sites, kept_secret)
    solved = solve_whole_table(reading, SITE, truths_of(sites)[SITE], nothing)
    assert solved.leak
    assert solved.rebuilt == 4
    guessed = guess_public_order(reading, SITE, Truth(), nothing)
    assert not guessed.tried
    assert "linear system" in guessed.words


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"study": {"rounds": 3}}, "12 published numbers against 32 unknown"),
        ({"training": {**BATCHES, "optimizer": "adam"}}, "the optimiser is adam"),
        (
            {"model": {"name": "mlp", "arguments": {"features": 3, "hidden": [8]}}},
            "this one is mlp",
        ),
    ],
)
def test_attack_when_it_does_not_apply_names_the_reason(
    tables: dict[str, object], reason: str
) -> None:
    scenario = scenario_of(ROWS, FEATURES, 4, **{"training": BATCHES, **tables})
    sites = sites_of(scenario)
    spec: StudySpec = scenario.specification
    reading = reading_of(spec, sites, made_the_old_way)
    for attempt in (guess_public_order, solve_whole_table):
        finding = attempt(reading, SITE, Truth(), nothing)
        assert not finding.tried
        assert reason in finding.words
    unknown = attempt(reading, "site-9", Truth(), nothing)
    assert "no update of this site" in unknown.words


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_replay_when_rows_move_changes_as_its_derivatives_state(momentum: float) -> None:
    random = np.random.default_rng(3)
    training = TrainingSpec(
        learning_rate=0.1, momentum=momentum, weight_decay=0.01, batch_size=4, local_steps=5
    )
    orders = [batches(shuffled(seed, 6), 4, 5) for seed in range(3)]
    replay = LogisticReplay(training, random.normal(size=(3, 4)), orders, 6)
    table = np.c_[random.normal(size=(6, 3)), random.integers(0, 2, 6)].astype(np.float64)
    changes, slopes = replay.slopes(table)
    np.testing.assert_array_equal(changes, replay.changes(table))
    for number in range(table.size):
        moved = np.zeros(table.size)
        moved[number] = 1e-5
        step = moved.reshape(table.shape)
        slope = (replay.changes(table + step) - replay.changes(table - step)) / 2e-5
        np.testing.assert_allclose(slopes[:, number], slope.reshape(-1), atol=1e-8)


def test_replay_when_the_order_is_right_gives_what_the_site_sent() -> None:
    """The same numbers as the product's training, momentum and decay included."""
    training = {**BATCHES, "momentum": 0.5, "weight_decay": 0.01}
    scenario = scenario_of(ROWS, FEATURES, 5, training=training)
    spec, sites = scenario.specification, sites_of(scenario)
    reading = reading_of(spec, sites, seeded_in_public)
    seeds = [public_seed(spec.study.seed, SITE, one.round) for one in reading.rounds]
    orders = [batches(drawn(seed, ROWS), 3, 4) for seed in seeds]
    replay = LogisticReplay(spec.training, reading.bases_of(SITE), orders, ROWS)
    train = sites[0].train
    table = np.c_[train.features.astype(np.float64), train.labels]
    changes = replay.changes(table) * -spec.training.learning_rate
    np.testing.assert_allclose(changes, reading.updates_of(SITE), atol=2e-6)
