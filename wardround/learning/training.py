"""What a site does between two rounds: train on its own rows, the same way every time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from wardround.learning.datasets.table import Table
from wardround.learning.errors import LearningError, no_rows
from wardround.learning.loss import classification_loss, count_classes
from wardround.learning.models.flat import is_finite, load_flat
from wardround.learning.optimizer import optimizer_of
from wardround.learning.privacy.accountant import count_steps
from wardround.learning.privacy.terms import PrivacySpent, PrivateTerms
from wardround.learning.repeatable import repeatable, row_orders
from wardround.protocol.fixed_point import Float32Vector
from wardround.protocol.study import TrainingSpec


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What came of it.

    Attributes:
        weights: float32, shape (P,), finite; the caller's own.
        examples: rows of the table, which is the site's weight in the average.
        steps: optimiser steps taken.
        mean_loss: of the rows as they were seen, in nats; None of private training, where it
            would tell of rows without noise.
        privacy: what private training cost; None of other training.
    """

    weights: Float32Vector
    examples: int
    steps: int
    mean_loss: float | None
    privacy: PrivacySpent | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that a site may send."""
        return {} if self.mean_loss is None else {"train_loss": self.mean_loss}


def train_locally(
    model: nn.Module,
    weights: Float32Vector,
    table: Table,
    training: TrainingSpec,
    seed: int,
    private: PrivateTerms | None = None,
) -> TrainingResult:
    """Train a copy of the weights on a site's rows.

    Equal arguments give equal bits on machines of one kind. Nothing outside changes: neither
    ``weights`` nor torch's global generator and threads; the optimiser starts from scratch.

    Args:
        model: the network; its own parameters are replaced.
        weights: to start from, float32, shape (P,).
        table: the site's training rows.
        training: optimiser, batch size and how long.
        seed: of the rows' order and of random layers, in 0 .. 2**256 - 1; a secret of the site,
            another one for each round.
        private: terms of differential privacy; None trains without.
    Raises:
        DataError: no rows; a label that the network has no output for.
        ProtocolError: ``weights`` are not (P,).
        LearningError: NaN or infinity in ``weights``; loss or weights became NaN or infinite.
        LearningError: the network cannot take such rows.
        LearningError: the terms do not allow it, or the network gives no gradient for each row.
    Source:
        McMahan et al. 2017, ClientUpdate of Algorithm 1 (arXiv:1602.05629).
    """
    if not len(table):
        raise no_rows("the training table")
    spent = None if private is None else private.spend(training, len(table))
    flat = load_flat(model, weights)
    # Copied, so that kernels find the same memory alignment in every process (see load_flat).
    features, labels = torch.tensor(table.features), torch.tensor(table.labels)
    mean_loss = None
    with repeatable(training.threads, seed):
        table.check_classes(count_classes(model, features[:1]))
        model.train()
        optimizer = optimizer_of(training, model)
        if private is None or spent is None:
            steps = count_steps(training, len(table))
            mean_loss = _descend(model, optimizer, features, labels, training, steps, seed)
        else:
            # Opacus takes seconds to import: only for those who ask for it.
            from wardround.learning.privacy.descent import descend_privately

            steps = spent.mechanism.steps
            stream = private.stream(model, weights, table, training, seed)
            units = private.units(len(table))
            descend_privately(
                model, optimizer, features, labels, units, private.privacy, spent.mechanism, stream
            )
    if not is_finite(flat):
        raise _diverged(steps, "a weight", float(flat[~torch.isfinite(flat)][0]))
    # Gradients are as large as the model and no longer needed.
    model.zero_grad(set_to_none=True)
    return TrainingResult(flat.numpy(), len(table), steps, mean_loss, spent)


def _descend(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    features: torch.Tensor,
    labels: torch.Tensor,
    training: TrainingSpec,
    steps: int,
    seed: int,
) -> float:
    """Take the steps; give the mean loss of the rows as they were seen."""
    loss_sum, rows_seen = 0.0, 0
    batches = _batches(features, labels, training.batch_size, seed)
    for step in range(1, steps + 1):
        rows, targets = next(batches)
        optimizer.zero_grad()
        loss = classification_loss(model(rows), targets)
        torch.autograd.backward(loss)
        optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise _diverged(step, "the loss", value)
        loss_sum += value * len(targets)
        rows_seen += len(targets)
    return loss_sum / rows_seen


def _batches(
    features: torch.Tensor, labels: torch.Tensor, batch_size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches for ever, reshuffled each epoch; the last of an epoch may be short."""
    if batch_size == 0 or batch_size >= len(labels):
        # All rows each time: their order would only change the rounding.
        while True:
            yield features, labels
    for order in row_orders(seed, len(labels)):
        for start in range(0, len(labels), batch_size):
            index = torch.from_numpy(order[start : start + batch_size])
            yield features[index], labels[index]


def _diverged(step: int, what: str, value: float) -> LearningError:
    return LearningError(f"{what} is {value!r} at step {step}: lower the learning rate.")
