"""Rows from models that a coordinator chose, and none from models that training gave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.leak.puppets import STARTS, Bisection
from tests.leak.readings import kept_secret, reading_of, scenario_of, sites_of, trained, truths_of
from wardround.leak.chosen import difference_chosen, linear_part
from wardround.leak.outcome import Truth
from wardround.leak.reading import PublishedRound, Reading, Sent
from wardround.leak.replay import steps_of
from wardround.learning.datasets.table import SiteData
from wardround.protocol.fixed_point import Int32Vector
from wardround.protocol.study import StudySpec

ROWS, FEATURES, ROUNDS, SITE = 16, 5, 16, "site-1"
WHOLE = {"learning_rate": 1.0, "batch_size": 0, "local_steps": 1, "local_epochs": None}
STEPS = {**WHOLE, "learning_rate": 0.2, "local_steps": 5, "momentum": 0.5, "weight_decay": 0.01}
BATCHES = {"learning_rate": 0.5, "batch_size": 4, "local_steps": None, "local_epochs": 1}


def nothing(words: str) -> None:
    pass


def study(**tables: Any) -> tuple[StudySpec, SiteData]:
    scenario = scenario_of(ROWS, FEATURES, ROUNDS, **tables)
    return scenario.specification, sites_of(scenario)[0]


def puppeteer(spec: StudySpec, site: SiteData) -> Reading:
    """Bisect in as many rounds as the study has; the site trains by its rules and its secret."""
    rounds: list[PublishedRound] = []
    of_mean, of_model = linear_part(spec.training, steps_of(spec.training, ROWS))

    def ask(base: Int32Vector) -> Int32Vector:
        number = len(rounds) + 1
        update = trained(spec, site, base, 2**200 + number)
        rounds.append(PublishedRound(number, base, base, {SITE: Sent(ROWS, ROWS, update)}))
        return np.rint(update + of_model * base).astype(np.int32)

    bisection = Bisection(FEATURES, ask, of_mean / ROWS)
    for threshold in STARTS:
        bisection.ask(threshold)
    while len(rounds) < spec.study.rounds:
        bisection.ask(bisection.next())
    return Reading(spec, [SITE], rounds)


@pytest.mark.parametrize(
    "training",
    [WHOLE, STEPS, BATCHES],
    ids=["one step", "steps with momentum", "batches in a secret order"],
)
def test_rows_when_a_coordinator_moves_the_threshold_are_rebuilt(
    training: dict[str, Any],
) -> None:
    """In fewer numbers than the table has, and whatever the order of rows."""
    spec, site = study(training=training)
    reading = puppeteer(spec, site)
    found = difference_chosen(reading, SITE, Truth(site.train), nothing)
    assert found.leak
    assert found.rebuilt is not None
    assert found.rebuilt >= 3, found.words
    assert found.error is not None
    assert found.error < 0.01
    again = difference_chosen(reading, SITE, Truth(site.train), nothing)
    assert again == found


def test_rows_when_no_table_is_there_are_a_finding_that_is_not_judged() -> None:
    spec, site = study(training=WHOLE)
    found = difference_chosen(puppeteer(spec, site), SITE, Truth(), nothing)
    assert found.leak
    assert found.rebuilt is None
    assert "no table is here to judge by" in found.words


@pytest.mark.parametrize("training", [WHOLE, STEPS, BATCHES])
@pytest.mark.parametrize("judged", [True, False])
def test_models_of_a_study_that_learns_give_no_row(training: dict[str, Any], judged: bool) -> None:
    scenario = scenario_of(ROWS, FEATURES, 60, training=training)
    spec, sites = scenario.specification, sites_of(scenario)
    reading = reading_of(spec, sites, kept_secret)
    truth = truths_of(sites)[SITE] if judged else Truth()
    found = difference_chosen(reading, SITE, truth, nothing)
    assert found.tried
    assert not found.leak
    assert found.rebuilt == (0 if judged else None)


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"training": {**WHOLE, "optimizer": "adam"}}, "the optimiser is adam"),
        (
            {"model": {"name": "mlp", "arguments": {"features": 5, "hidden": [8]}}},
            "this one is mlp",
        ),
        (
            {"privacy": {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-3}},
            "training is private",
        ),
    ],
)
def test_attack_when_it_does_not_apply_names_the_reason(
    tables: dict[str, Any], reason: str
) -> None:
    spec, _ = study(**{"training": WHOLE, **tables})
    base = np.zeros(FEATURES + 1, np.int32)
    reading = Reading(spec, [SITE], [PublishedRound(1, base, base, {SITE: Sent(1, 1, base)})])
    found = difference_chosen(reading, SITE, Truth(), nothing)
    assert not found.tried
    assert reason in found.words
    assert "no update of this site" in difference_chosen(reading, "x", Truth(), nothing).words
