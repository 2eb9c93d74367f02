"""Differences of cohorts and of attempts: what a model owes to the one site that is not in another.

Where only sums can be read, two models made from one base by cohorts that differ by one site give
that site's update away. Rounds that follow each other start from different bases: their difference
is an estimate, and how near it comes is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from wardround.leak.order import OnStep
from wardround.leak.outcome import AttackOutcome, not_tried
from wardround.leak.reading import PublishedRound, Reading
from wardround.leak.replay import Floats

DIFFERENCES = "differences of cohorts"


def compare_cohorts(reading: Reading, site: str, on_step: OnStep) -> AttackOutcome:
    """Subtract models whose cohorts differ by one site, and compare with its update."""
    if not reading.rounds:
        return not_tried(DIFFERENCES, site, reading.sealed or "no round was closed")
    if reading.spec.aggregation.rule != "mean":
        rule = reading.spec.aggregation.rule
        return not_tried(DIFFERENCES, site, f"only means are subtracted, and the rule is {rule}")
    on_step(f"{DIFFERENCES}: {site}")
    pairs = list(_pairs(reading.rounds, site))
    same = [pair for pair in pairs if (pair[0].base == pair[1].base).all()]
    hidden = any(fuller.sent[site].update is None for fuller, _ in pairs)
    if not pairs:
        words = "no two cohorts that can be compared differ by this site alone"
        return AttackOutcome(attack=DIFFERENCES, site=site, words=words)
    cosines = [
        _cosine(_isolated(fuller, lesser, site), fuller.sent[site].update)
        for fuller, lesser in same or pairs
    ]
    judged = [value for value in cosines if value is not None]
    cosine = max(judged) if judged else None
    near = "it cannot be compared" if cosine is None else f"cosine to the true one {cosine:.3f}"
    if same:
        words = f"its update is isolated by {len(same)} repeated attempts on one base; {near}"
    else:
        words = f"its update is estimated from {len(pairs)} pairs of rounds in a row; {near}"
    if not hidden:
        words += "; single updates are public anyway"
    return AttackOutcome(
        attack=DIFFERENCES, site=site, words=words, leak=hidden and bool(same), cosine=cosine
    )


def _pairs(
    rounds: Sequence[PublishedRound], site: str
) -> Iterator[tuple[PublishedRound, PublishedRound]]:
    """Closings with and without a site, the others being the same: of one base, or in a row."""
    for one, other in combinations(rounds, 2):
        for fuller, lesser in ((one, other), (other, one)):
            near = abs(one.round - other.round) <= 1
            if near and fuller.sent.keys() == {site, *lesser.sent} and site not in lesser.sent:
                yield fuller, lesser


def _isolated(fuller: PublishedRound, lesser: PublishedRound, site: str) -> Floats:
    """What the fuller cohort's weighted sum has that the other has not, by the site's weight."""
    sums = [
        (one.model.astype(np.float64) - one.base) * sum(part.weight for part in one.sent.values())
        for one in (fuller, lesser)
    ]
    return np.asarray((sums[0] - sums[1]) / fuller.sent[site].weight)


def _cosine(found: Floats, true: object) -> float | None:
    if true is None:
        return None
    other = np.asarray(true, np.float64)
    length = float(np.linalg.norm(found) * np.linalg.norm(other))
    return float(found @ other) / length if length else None
