"""Exact losses of models that a coordinator chose, and of models that training gave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.leak.readings import made_the_old_way, reading_of, scenario_of, sites_of, truths_of
from wardround.leak.measures import solve_measures
from wardround.leak.outcome import Truth
from wardround.leak.reading import PublishedRound, Reading, SiteMeasures
from wardround.leak.replay import Floats
from wardround.learning.datasets.table import Table
from wardround.learning.metrics import evaluate
from wardround.learning.models import build_model
from wardround.protocol.model import NO_FILES
from wardround.protocol.study import StudySpec

FEATURES, SITE = 3, "site-1"
STEEP = 60.0


class Oracle:
    """A site as version 1 had it: it measures every model that is chosen, exactly."""

    def __init__(self, spec: StudySpec, table: Table) -> None:
        self.spec, self.table = spec, table
        self.rounds: list[PublishedRound] = []
        self.measures: list[SiteMeasures] = []
        self.model = build_model(spec.model, NO_FILES, 0)

    def ask(self, slope: Floats, bias: float) -> float:
        """The loss of one model, summed over the rows; what a puppet's noise adds is in it."""
        scale = 2**self.spec.aggregation.scale_bits
        chosen = np.rint(np.append(slope, bias) * scale).astype(np.int32)
        number = len(self.rounds) + 1
        chosen += np.random.default_rng(number).integers(-33, 34, chosen.size).astype(np.int32)
        found = evaluate(self.model, (chosen / scale).astype(np.float32), self.table)
        base = self.rounds[-1].model if self.rounds else np.zeros_like(chosen)
        self.rounds.append(PublishedRound(number, base, chosen, {}))
        self.measures.append(
            SiteMeasures(number, SITE, found.examples, found.correct, found.loss_sum)
        )
        return found.loss_sum

    def reading(self) -> Reading:
        return Reading(self.spec, [SITE], self.rounds, self.measures)


def puppeteer(oracle: Oracle) -> None:
    """Choose models as in the attack on version 1: quiet ones, then steep ones, then neighbours."""
    units = np.eye(FEATURES)
    oracle.ask(np.zeros(FEATURES), -15.0)
    for unit in units:
        oracle.ask(unit, -30.0)
    direction = np.random.default_rng(1).standard_normal(FEATURES)
    slope = STEEP * direction / np.linalg.norm(direction)
    rows = oracle.table.features.astype(np.float64) @ slope
    # An attacker bisects for this threshold; the answers that matter are those at its end.
    highest, second = np.sort(rows)[::-1][:2]
    bias = -(highest + second) / 2
    for moved in (slope, *(slope + unit for unit in units)):
        oracle.ask(moved, bias)
    oracle.ask(slope, bias + 1)


@pytest.fixture
def oracle() -> Oracle:
    scenario = scenario_of(20, FEATURES, 5)
    return Oracle(scenario.specification, sites_of(scenario)[0].test)


def nothing(words: str) -> None:
    pass


def test_test_row_when_models_single_it_out_is_rebuilt(oracle: Oracle) -> None:
    puppeteer(oracle)
    found = solve_measures(oracle.reading(), SITE, Truth(test=oracle.table), nothing)
    assert found.leak
    assert found.rebuilt == 1
    assert found.error is not None
    assert found.error < 0.01


def test_row_when_no_table_is_there_is_a_finding_that_is_not_judged(oracle: Oracle) -> None:
    puppeteer(oracle)
    found = solve_measures(oracle.reading(), SITE, Truth(), nothing)
    assert found.leak
    assert found.rebuilt is None


def test_measures_of_a_study_that_learns_single_nobody_out(oracle: Oracle) -> None:
    scenario = scenario_of(20, FEATURES, 30)
    spec, sites = scenario.specification, sites_of(scenario)
    reading = reading_of(spec, sites, made_the_old_way)
    unit = 2.0**-spec.aggregation.scale_bits
    measures = []
    for one in reading.rounds:
        found = evaluate(oracle.model, (one.model * unit).astype(np.float32), sites[0].test)
        measures.append(
            SiteMeasures(one.round, SITE, found.examples, found.correct, found.loss_sum)
        )
    outcome = solve_measures(
        replace(reading, measures=measures), SITE, truths_of(sites)[SITE], nothing
    )
    assert outcome.tried
    assert not outcome.leak
    assert outcome.rebuilt == 0


def test_measures_when_only_counts_leave_are_not_solved(oracle: Oracle) -> None:
    puppeteer(oracle)
    counted = [SiteMeasures(one.round, SITE, one.examples) for one in oracle.measures]
    reading = replace(oracle.reading(), measures=counted)
    found = solve_measures(reading, SITE, Truth(test=oracle.table), nothing)
    assert not found.tried
    assert "counts of test rows leave the site, and no exact losses" in found.words
