"""Adaptive measures: exact losses of chosen models single out one test row after another.

A coordinator with one puppet site chooses models whose slope is steep, so that rows are far above
the model's threshold or far below. The loss of all rows below is linear in the model; what is left
of the loss after that part is the score of the rows above. Two models that differ in their
threshold alone show how many those are; with one alone, its score is known, and models nearby give
one equation each for its features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.leak.order import OnStep
from wardround.leak.outcome import AttackOutcome, Truth, judged_rows, not_tried
from wardround.leak.reading import Reading, SiteMeasures
from wardround.leak.replay import Floats

MEASURES = "adaptive measures"
#: Rows of scaled tables are seldom longer than this many standard deviations a feature.
_REACH_PER_FEATURE = 3.0
#: Below this score a row's loss is linear to within a hundredth.
_FAR = 5.0
#: Two models with slopes this near differ in their threshold alone.
_SAME_SLOPE = 0.01
#: Slopes and thresholds this near leave the same row above.
_NEARBY = 2.0
_COUNT_ERROR, _SCORE_ERROR = 0.02, 0.01


@dataclass(frozen=True, eq=False)
class _Probes:
    """Models that were measured, and what is left of their losses.

    Attributes:
        models: float64, (M, d + 1), bias last.
        correct: right answers of each.
        excess: sum over rows of softplus of their scores.
        ill: rows with label 1.
        rows: of the test table.
    """

    models: Floats
    correct: Floats
    excess: Floats
    ill: int
    rows: int


def solve_measures(reading: Reading, site: str, truth: Truth, on_step: OnStep) -> AttackOutcome:
    """Look for models that singled out a test row, and solve for it."""
    measures = [one for one in reading.measures if one.site == site]
    spec = reading.spec
    if not measures:
        return not_tried(MEASURES, site, "no measures of this site by itself are at hand")
    if any(one.loss is None or one.correct is None for one in measures):
        reason = "counts of test rows leave the site, and no exact losses to solve"
        return not_tried(MEASURES, site, reason)
    if spec.model.name != "logistic" or spec.model.arguments.get("classes", 2) != 2:
        reason = (
            f"only a two-class logistic model is solved for, and this one is {spec.model.label}"
        )
        return not_tried(MEASURES, site, reason)
    on_step(f"{MEASURES}: {site}")
    probes = _probed(reading, measures)
    if probes is None:
        words = f"no part of {len(measures)} measures is linear, so no row is singled out"
        if truth.test is None:
            return AttackOutcome(attack=MEASURES, site=site, words=words)
        rows = len(truth.test)
        return AttackOutcome(attack=MEASURES, site=site, words=words, rebuilt=0, rows=rows)
    solved = np.array(_singled_out(probes)).reshape(-1, probes.models.shape[1])
    found = f"{len(solved)} test rows are singled out by {len(measures)} measures"
    return judged_rows(MEASURES, site, found, solved, truth.test)


def _probed(reading: Reading, measures: Sequence[SiteMeasures]) -> _Probes | None:
    """Find the linear part of the losses; None where no models show it."""
    models_by_round = {one.round: one.model for one in reading.standing}
    known = [one for one in measures if one.round in models_by_round]
    if not known:
        return None
    models = np.array([models_by_round[one.round] for one in known]) * reading.unit
    losses = np.array([one.loss for one in known], np.float64)
    correct = np.array([one.correct for one in known], np.float64)
    reach = _REACH_PER_FEATURE * np.sqrt(models.shape[1] - 1)
    quiet = models[:, -1] + reach * np.linalg.norm(models[:, :-1], axis=1) < -_FAR
    if np.linalg.matrix_rank(models[quiet]) < models.shape[1]:
        return None
    # Of rows below, those that are ill lose their score, and the others nothing.
    sums = np.linalg.lstsq(-models[quiet], losses[quiet], rcond=None)[0]
    if abs(sums[-1] - round(sums[-1])) > _COUNT_ERROR:
        return None
    excess = losses + models @ sums
    return _Probes(models, correct, excess, round(sums[-1]), known[0].examples)


def _singled_out(probes: _Probes) -> list[Floats]:
    """Rows that were alone above a model's threshold, (d + 1,) with the label last."""
    slopes, bias = probes.models[:, :-1], probes.models[:, -1]
    found: list[Floats] = []
    for first in range(len(slopes)):
        for second in range(len(slopes)):
            raised = bias[second] - bias[first]
            apart = np.linalg.norm(slopes[second] - slopes[first])
            if probes.excess[first] < 1 or raised < 0.1 or apart > _SAME_SLOPE:
                continue
            above = (probes.excess[second] - probes.excess[first]) / raised
            if abs(above - 1) > _SCORE_ERROR:
                continue
            row = _solved(probes, first)
            if row is not None and not any(np.abs(row - other).max() < 0.05 for other in found):
                found.append(row)
    return found


def _solved(probes: _Probes, center: int) -> Floats | None:
    """Solve the scores of models near one that singles out a row."""
    slopes, bias = probes.models[:, :-1], probes.models[:, -1]
    near = np.linalg.norm(slopes - slopes[center], axis=1) < _NEARBY
    near &= (np.abs(bias - bias[center]) < _NEARBY) & (probes.excess > 1)
    if np.linalg.matrix_rank(slopes[near] - slopes[center], tol=0.1) < slopes.shape[1]:
        return None
    scores = np.log(np.expm1(probes.excess[near]))
    # The center's own equation is subtracted, because a steep slope makes it badly conditioned.
    moved, left = (
        slopes[near] - slopes[center],
        (scores - bias[near]) - (np.log(np.expm1(probes.excess[center])) - bias[center]),
    )
    row, *_ = np.linalg.lstsq(moved, left, rcond=None)
    if np.abs(moved @ row - left).max() > _SCORE_ERROR:
        return None
    # Predicted ill alone, it is one answer more that is right, or one less.
    label = probes.correct[center] > probes.rows - probes.ill
    return np.append(row, float(label))
