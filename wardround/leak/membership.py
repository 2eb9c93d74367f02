"""Membership inference: whether a candidate row was in a site's training table.

The attacker is given rows of which some were trained on, and orders them by a score. Half of all
pairs are ordered right by chance; an area of 1 tells each member from each other row.

Source:
    Yeom et al. 2018 (arXiv:1709.01604) for the loss; Nasr et al. 2019 (arXiv:1812.00910) and Li et
    al. 2023 for gradients against an update.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wardround.leak.order import OnStep
from wardround.leak.outcome import AttackOutcome, Truth, not_tried
from wardround.leak.reading import Reading
from wardround.leak.replay import Floats
from wardround.learning.datasets.table import Table
from wardround.learning.loss import classification_loss
from wardround.learning.metrics import rank_auc
from wardround.learning.models import build_model
from wardround.protocol.model import NO_FILES

LOSS, GRADIENT = "membership by loss", "membership by gradient"
#: Areas below may come of tables that differ a little.
AUC_LIMIT = 0.75
#: And of chance: so many standard deviations of the area under random order.
_DEVIATIONS = 3.0
#: Rounds whose models and updates are tried, the last ones.
_MOST_ROUNDS = 50
#: Numbers in the gradients of all candidates at once.
_CHUNK = 2**24
_MOST_PARAMETERS = 1_000_000

Parameters = dict[str, torch.Tensor]


def auc_limit(members: int, others: int, least: float = AUC_LIMIT) -> float:
    """The area from which it is a finding: above ``least``, and above what chance gives.

    Args:
        members: candidates that were trained on.
        others: candidates that were not.
        least: whatever the number of candidates.
    """
    deviation = math.sqrt((members + others + 1) / (12 * members * others))
    return max(least, 0.5 + _DEVIATIONS * deviation)


def infer_members(
    reading: Reading, site: str, truth: Truth, on_step: OnStep, least: float = AUC_LIMIT
) -> Iterator[AttackOutcome]:
    """Order a site's training and held-out rows by loss, and by gradient against its updates."""
    if reason := _unfit(reading, site, truth):
        yield from (not_tried(attack, site, reason) for attack in (LOSS, GRADIENT))
        return
    assert truth.train is not None  # _unfit has looked
    assert truth.test is not None
    spec = reading.spec
    model = build_model(spec.model, NO_FILES, spec.study.seed).eval()
    candidates = _together(truth.train, truth.test)
    members = np.arange(len(candidates)) < len(truth.train)
    on_step(f"{LOSS}: {site}")
    last = reading.standing[-1].model.astype(np.float64) * reading.unit
    scores = -_losses(model, last, candidates)
    how = "low loss under the last model"
    yield _judged(LOSS, site, scores, members, least, how)
    rounds = reading.rounds_of(site)[-_MOST_ROUNDS:]
    if not rounds:
        yield not_tried(GRADIENT, site, "no update of this site can be read by itself")
        return
    on_step(f"{GRADIENT}: {site}")
    scores = np.zeros(len(candidates))
    for one in rounds:
        update = one.sent[site].update
        assert update is not None  # of readable rounds
        base = one.base.astype(np.float64) * reading.unit
        scores += _alignment(model, base, update.astype(np.float64), candidates)
    how = f"a gradient that points along the update, over {len(rounds)} rounds"
    yield _judged(GRADIENT, site, scores, members, least, how)


def _unfit(reading: Reading, site: str, truth: Truth) -> str:
    if not reading.standing:
        return reading.sealed or "no round was closed"
    if reading.spec.model.is_own:
        return "the model is the study's own, and its code is not run here"
    if truth.train is None or truth.test is None:
        return "a training table and a held-out one are needed, and are not at hand"
    if len(reading.standing[0].base) > _MOST_PARAMETERS:
        return f"the model has more than {_MOST_PARAMETERS:,} parameters"
    return ""


def _judged(
    attack: str, site: str, scores: Floats, members: npt.NDArray[np.bool_], least: float, how: str
) -> AttackOutcome:
    area = rank_auc(scores, members)
    assert area is not None  # both tables have rows
    limit = auc_limit(int(members.sum()), int((~members).sum()), least)
    words = f"{how} tells members with AUC {area:.3f}; from {limit:.2f} on it is a finding"
    return AttackOutcome(attack=attack, site=site, words=words, leak=area >= limit, auc=area)


def _together(train: Table, test: Table) -> Table:
    return Table(
        np.concatenate([train.features, test.features]), np.concatenate([train.labels, test.labels])
    )


def _parameters(model: nn.Module, flat: Floats) -> Parameters:
    """Name a vector's parts, as `load_flat` lays them out."""
    values, start, named = torch.tensor(flat, dtype=torch.float32), 0, {}
    for name, parameter in model.named_parameters():
        named[name] = values[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
    return named


def _loss_of_one(model: nn.Module) -> Callable[..., torch.Tensor]:
    def loss(
        parameters: Mapping[str, torch.Tensor], row: torch.Tensor, label: torch.Tensor
    ) -> torch.Tensor:
        logits = torch.func.functional_call(model, dict(parameters), (row[None],))
        return classification_loss(logits, label[None])

    return loss


def _losses(model: nn.Module, flat: Floats, table: Table) -> Floats:
    """Each row's loss in nats, (n,)."""
    rows, labels = torch.tensor(table.features), torch.tensor(table.labels)
    with torch.no_grad():
        each = torch.func.vmap(_loss_of_one(model), in_dims=(None, 0, 0))
        return np.asarray(each(_parameters(model, flat), rows, labels).numpy(), np.float64)


def _alignment(model: nn.Module, base: Floats, update: Floats, table: Table) -> Floats:
    """Cosine between an update and the step that each row alone would take, (n,)."""
    parameters = _parameters(model, base)
    along = torch.tensor(update, dtype=torch.float32)
    gradients = torch.func.vmap(torch.func.grad(_loss_of_one(model)), in_dims=(None, 0, 0))
    rows, labels = torch.tensor(table.features), torch.tensor(table.labels)
    size, cosines = max(1, _CHUNK // len(base)), []
    for start in range(0, len(table), size):
        part = slice(start, start + size)
        found = gradients(parameters, rows[part], labels[part])
        flat = torch.cat([found[name].flatten(1) for name in parameters], dim=1)
        cosines.append(torch.nn.functional.cosine_similarity(-flat, along[None], dim=1))
    return np.asarray(torch.cat(cosines).numpy(), np.float64)
