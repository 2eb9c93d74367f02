"""How good a model is, at each site and over all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wardround.learning.datasets.table import Table
from wardround.learning.errors import LearningError, no_rows
from wardround.learning.loss import count_classes
from wardround.learning.models.flat import load_flat
from wardround.learning.repeatable import repeatable
from wardround.protocol.fixed_point import Float32Vector

CHUNK_ROWS = 1024


@dataclass(frozen=True)
class Metrics:
    """Measured on some rows.

    Attributes:
        examples: rows, at least 1.
        correct: rows whose likeliest class is the true one.
        loss_sum: sum of the rows' cross entropies, in nats.
        auc: area under the ROC curve, in [0, 1]; for more than two classes the plain mean of
            each class against the rest. None when the rows have one class only.
    """

    examples: int
    correct: int
    loss_sum: float
    auc: float | None

    @property
    def accuracy(self) -> float:
        """Share of rows that are right, in [0, 1]."""
        return self.correct / self.examples

    @property
    def log_loss(self) -> float:
        """Mean cross entropy, in nats."""
        return self.loss_sum / self.examples


def evaluate(model: nn.Module, weights: Float32Vector, table: Table, threads: int = 1) -> Metrics:
    """Measure a model on a site's rows.

    Args:
        model: the network; its own parameters are replaced.
        weights: float32, shape (P,).
        table: at least one row.
        threads: as in training, so that the numbers repeat.
    Raises:
        DataError: no rows; a label that the network has no output for.
        ProtocolError: ``weights`` are not (P,).
        LearningError: NaN or infinity in ``weights``; carries the row.
        LearningError: the network cannot take such rows.
    """
    load_flat(model, weights)
    return measure(_predict(model, table, threads), table.labels)


def evaluate_sites(
    model: nn.Module, weights: Float32Vector, tables: Sequence[Table], threads: int = 1
) -> tuple[list[Metrics], Metrics]:
    """Measure a model at each site, and on the union of all rows.

    Only a simulation can do this: it has every site's rows at hand.

    Args:
        model: the network; its own parameters are replaced.
        weights: float32, shape (P,).
        tables: one a site, at least one.
        threads: as in training.
    Returns:
        One for each table, and the pooled one with its AUC.
    Raises:
        LearningError: as `evaluate`.
    """
    if not tables:
        raise no_rows("the list of tables")
    load_flat(model, weights)
    logits = [_predict(model, table, threads) for table in tables]
    labels = [table.labels for table in tables]
    each = [measure(*pair) for pair in zip(logits, labels, strict=True)]
    return each, measure(np.concatenate(logits), np.concatenate(labels))


def measure(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> Metrics:
    """Compare logits with the truth.

    Args:
        logits: float64, shape (n, classes), finite. An equal pair counts as the lower class.
        labels: int64, shape (n,), n >= 1, in range.
    Raises:
        DataError: no rows.
    """
    if not len(labels):
        raise no_rows("the table to measure on")
    top = logits.max(axis=1)
    losses = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
    losses -= logits[np.arange(len(labels)), labels]
    return Metrics(
        examples=len(labels),
        correct=int((logits.argmax(axis=1) == labels).sum()),
        loss_sum=math.fsum(losses),
        auc=_mean_auc(logits, labels),
    )


def rank_auc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float | None:
    """Chance that a positive row scores above a negative one, ties counting half.

    Args:
        scores: float64, shape (n,), finite.
        positive: bool, shape (n,).
    Returns:
        In [0, 1]; None without both kinds of rows.
    Source:
        Hanley and McNeil 1982; the Mann-Whitney U statistic, exact in integers here.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    # Twice the mean rank of each group of ties, so that halves stay integers.
    ranks = 2 * np.cumsum(sizes) - sizes + 1
    rank_sum = int(ranks[group][positive].sum())
    return (rank_sum - positives * (positives + 1)) / (2 * positives * negatives)


def _mean_auc(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float | None:
    if logits.shape[1] == 2:
        return rank_auc(logits[:, 1] - logits[:, 0], labels == 1)
    # Each class against the rest by its probability, as is usual.
    shares = _shares(logits)
    areas = [rank_auc(shares[:, label], labels == label) for label in range(logits.shape[1])]
    defined = [area for area in areas if area is not None]
    return math.fsum(defined) / len(defined) if defined else None


def predict_classes(
    model: nn.Module, weights: Float32Vector, features: npt.NDArray[np.float32], threads: int = 1
) -> npt.NDArray[np.float64]:
    """Compute each row's probability of each class, without its label.

    Args:
        model: the network; its own parameters are replaced.
        weights: float32, shape (P,).
        features: float32, shape (n, ...), n >= 1.
        threads: as in training, so that the numbers repeat.
    Returns:
        float64, shape (n, classes), at least two classes.
    Raises:
        LearningError: as `evaluate`.
    """
    load_flat(model, weights)
    return _shares(_logits(model, features, threads))


def _shares(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _predict(model: nn.Module, table: Table, threads: int) -> npt.NDArray[np.float64]:
    logits = _logits(model, table.features, threads)
    table.check_classes(logits.shape[1])
    return logits


def _logits(
    model: nn.Module, features: npt.NDArray[np.float32], threads: int
) -> npt.NDArray[np.float64]:
    """Compute float64 logits of shape (n, classes); one logit z becomes the pair (0, z)."""
    if not len(features):
        raise no_rows("the table to measure on")
    parts = []
    with repeatable(threads), torch.no_grad():
        count_classes(model, torch.tensor(features[:1]))
        for start in range(0, len(features), CHUNK_ROWS):
            rows = torch.tensor(features[start : start + CHUNK_ROWS])
            parts.append(model(rows).reshape(len(rows), -1).numpy().astype(np.float64))
    logits = np.concatenate(parts)
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise LearningError(f"the model's output for row {row} is not finite: use other weights.")
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return logits
