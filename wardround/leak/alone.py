"""Rows that alone moved a unit of the first layer: the update shows them as they are.

A unit of a first layer with bias gets the gradient ``sum of e_i x_i`` for its weights and ``sum of
e_i`` for its bias. Where one row alone reaches the unit, their quotient is that row, whatever the
order of rows and the layers behind. Weight decay adds a share of the model in each step; it is
subtracted, exactly where a round is one step, and else as if the model did not move.

Source:
    Geiping et al. 2020 (arXiv:2003.14053), proposition 3.1; Boenisch et al. 2021
    (arXiv:2112.02918) for networks with ReLU.
"""

from __future__ import annotations

import numpy as np

from wardround.leak.order import OnStep
from wardround.leak.outcome import AttackOutcome, Truth, judge, not_tried
from wardround.leak.reading import Reading
from wardround.leak.replay import Floats, steps_of

ALONE = "row alone in a unit"
#: A quotient of smaller changes is mostly rounding.
_LEAST_ROUNDINGS = 300.0
#: The newest rounds tell as much as all; more only take longer.
_MOST_CANDIDATES = 20_000


def divide_first_layer(reading: Reading, site: str, truth: Truth, on_step: OnStep) -> AttackOutcome:
    """Divide what each unit's weights and bias received, and look whether that is a row."""
    spec = reading.spec
    if not reading.rounds_of(site):
        reason = reading.sealed or "no update of this site can be read by itself"
        return not_tried(ALONE, site, reason)
    if spec.privacy is not None:
        return not_tried(ALONE, site, "training is private: noise is in every update")
    if spec.training.optimizer != "sgd":
        return not_tried(ALONE, site, f"{spec.training.optimizer} scales each number by itself")
    shape = _first_layer(reading)
    if shape is None:
        return not_tried(ALONE, site, f"the first layer of {spec.model.label} is not known here")
    on_step(f"{ALONE}: {site}")
    updates = _without_decay(reading, site)
    found = _quotients(updates, shape, reading.unit)[-_MOST_CANDIDATES:]
    solved = np.c_[found, np.full(len(found), np.nan)]
    if truth.train is None:
        # Units that the same rows reach have equal quotients too: agreement would prove nothing.
        words = f"{len(found)} quotients of updates, and no table is here to judge by"
        return AttackOutcome(attack=ALONE, site=site, words=words)
    near = _nearest(found, truth)
    judged = judge(solved[near], truth.train)
    words = (
        f"{judged.rebuilt} of {judged.rows} rows are among {len(found)} quotients of updates "
        "(features alone, labels are not solved for)"
    )
    return AttackOutcome(
        attack=ALONE,
        site=site,
        words=words,
        leak=judged.rebuilt > 0,
        rebuilt=judged.rebuilt,
        rows=judged.rows,
        error=judged.error if len(near) else None,
    )


def _first_layer(reading: Reading) -> tuple[int, int] | None:
    """Units and inputs of the first layer, where it is linear with a bias right behind."""
    model = reading.spec.model
    features, hidden = model.arguments.get("features"), model.arguments.get("hidden")
    classes = model.arguments.get("classes", 2)
    if not isinstance(features, int) or not isinstance(classes, int):
        return None
    if model.name == "mlp" and isinstance(hidden, list) and hidden:
        return hidden[0], features
    if model.name in ("logistic", "mlp"):
        return (1 if classes == 2 else classes), features
    return None


def _without_decay(reading: Reading, site: str) -> Floats:
    """The site's updates, but for what weight decay took from the models they start from."""
    training, rounds = reading.spec.training, reading.rounds_of(site)
    decay = training.learning_rate * training.weight_decay
    steps = [steps_of(training, one.sent[site].examples) for one in rounds]
    return reading.updates_of(site) + decay * np.array(steps)[:, None] * reading.bases_of(site)


def _quotients(updates: Floats, shape: tuple[int, int], unit: float) -> Floats:
    units, inputs = shape
    weights = updates[:, : units * inputs].reshape(-1, inputs)
    bias = updates[:, units * inputs : units * (inputs + 1)].reshape(-1)
    large = np.abs(bias) > _LEAST_ROUNDINGS * unit
    return weights[large] / bias[large][:, None]


def _nearest(found: Floats, truth: Truth) -> list[int]:
    """The quotient that is nearest to each row, so that a row counts once."""
    if truth.train is None or not len(found):
        return []
    rows = truth.train.features.reshape(len(truth.train), -1).astype(np.float64)
    return sorted({int(np.abs(found - row).max(axis=1).argmin()) for row in rows})
