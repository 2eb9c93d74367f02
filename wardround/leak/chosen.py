"""Chosen models: two updates whose models differ so that one training row alone changed sides.

A coordinator with a puppet site decides from which models a site trains. From a steep one a row
adds nothing where it is far on the right side of the threshold, and its whole self where it is far
on the wrong one. With the threshold moved past one row, the difference of the two updates is that
row. The order of rows hides nothing here: a pass over the table adds the same in every order.
"""

from __future__ import annotations

import numpy as np

from wardround.leak.order import OnStep, not_linear
from wardround.leak.outcome import AttackOutcome, Truth, judged_rows, not_tried
from wardround.leak.reading import Reading
from wardround.leak.replay import Floats, sigmoid, steps_of
from wardround.protocol.study import TrainingSpec

CHOSEN = "chosen models"
#: By how much a row that changes sides moves the predicted chances in all, and what it may miss.
_WHOLE_ROW, _COUNT_ERROR = 0.98, 0.01
#: Numbers in all pairs of updates, above which their differences take minutes.
_MOST_NUMBERS = 10**10


def difference_chosen(reading: Reading, site: str, truth: Truth, on_step: OnStep) -> AttackOutcome:
    """Subtract each two updates of a site, and look for differences that are one row.

    All pairs are taken, so it ends after a number of steps that the rounds decide, and repeats.
    """
    if reason := _unfit(reading, site):
        return not_tried(CHOSEN, site, reason)
    on_step(f"{CHOSEN}: {site}")
    bases = reading.bases_of(site)
    rows = reading.rounds_of(site)[0].sent[site].examples
    solved = _rows_between(bases, _pulls(reading, site, rows))
    pairs = len(bases) * (len(bases) - 1) // 2
    found = f"{len(solved)} rows changed sides alone between two of {len(bases)} models"
    return judged_rows(CHOSEN, site, f"{found}, of {pairs:,} pairs", solved, truth.train)


def _unfit(reading: Reading, site: str) -> str:
    if reason := not_linear(reading, site):
        return reason
    rounds = reading.rounds_of(site)
    if len(rounds) ** 2 * len(rounds[0].base) > 2 * _MOST_NUMBERS:
        return f"{len(rounds):,} updates have more pairs than this command compares"
    return ""


def _pulls(reading: Reading, site: str, rows: int) -> Floats:
    """What the rows add in a round: the sum of (p - y) (x, 1), as if p stayed as it was, (R, P)."""
    training = reading.spec.training
    of_mean, of_model = linear_part(training, steps_of(training, rows))
    kept = reading.updates_of(site) + of_model * reading.bases_of(site)
    return np.asarray(-kept * rows / of_mean)


def linear_part(training: TrainingSpec, steps: int) -> tuple[float, float]:
    """How much a round takes from a model of a mean gradient that stays as it is, and of itself."""
    taken = []
    for gradient, model in ((1.0, 0.0), (0.0, 1.0)):
        start, pace = model, 0.0
        for _ in range(steps):
            pace = training.momentum * pace + training.weight_decay * model + gradient
            model -= training.learning_rate * pace
        taken.append(start - model)
    return taken[0], taken[1]


def _rows_between(bases: Floats, pulls: Floats) -> Floats:
    """Rows that changed sides alone between two models: (m, d + 1), label last, NaN: not known."""
    found: list[Floats] = []
    for first in range(len(bases) - 1):
        apart = pulls[first] - pulls[first + 1 :]
        # The bias adds up by how much all chances changed: by one, where one row changed sides.
        changed = apart[:, -1]
        alone = np.flatnonzero(np.abs(np.abs(changed) - 1) < 1 - _WHOLE_ROW)
        for second in alone + first + 1:
            moved = changed[second - first - 1]
            row = apart[second - first - 1] / moved
            row[-1] = 1  # the input of the bias
            expected = sigmoid(bases[first] @ row) - sigmoid(bases[second] @ row)
            if abs(expected - moved) > _COUNT_ERROR + abs(abs(moved) - 1):
                continue
            if not any(np.abs(row - other)[:-1].max() < _COUNT_ERROR for other in found):
                found.append(row)
    solved = np.array(found).reshape(-1, bases.shape[1])
    solved[:, -1] = np.nan  # a label adds the same to both updates
    return solved
