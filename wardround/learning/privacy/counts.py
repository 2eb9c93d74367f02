"""How good a model is, from counts alone: a histogram of what it predicted, by what is true.

Counts of integers can be added over sites, noised exactly, and show no row's probability. With two
classes a row is counted by the probability of class 1 and by its class; with more, by the
probability of its true class and by whether the model was right.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import mode

import numpy as np
import numpy.typing as npt

from wardround.learning.errors import LearningError, no_rows
from wardround.learning.privacy.accountant import Mechanism
from wardround.learning.privacy.discrete_gaussian import Below, discrete_gaussian
from wardround.protocol.messages import BINS, Measured

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]
#: Loss is that of probabilities within these.
CLIP = 0.001
_LOSS_MAX = -math.log(CLIP)
_DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Histogram:
    """Rows counted by predicted probability.

    Attributes:
        counts: int64, shape (bins, 2). By class where there are two; else wrong ones, then right.
        two_classes: whether there are two.
        deviation: of the noise on each count; of a sum over sites, of their noises together.
    """

    counts: Counts
    two_classes: bool
    deviation: float = 0.0

    @classmethod
    def of(cls, measured: Measured) -> Histogram:
        """Read what a site sent."""
        counts = np.array(measured.counts, np.int64).reshape(BINS, 2)
        return cls(counts, measured.two_classes, measured.noise)


@dataclass(frozen=True)
class CountedMetrics:
    """What counts tell of a model.

    Attributes:
        examples: rows; with noise an estimate, and so is all else.
        accuracy: share of rows whose likeliest class is the true one, in [0, 1].
        auc: area under the ROC curve, in [0, 1]; two rows in one interval count as a tie, a half.
            None for more than two classes, or where a class has no rows.
        calibration_error: mean distance of the share of class 1 from an interval's middle, weighed
            by rows, in [0, 1]; None for more than two classes.
        log_loss: least and greatest mean cross entropy in nats, of probabilities clipped to
            `CLIP`; the true one is between them.
    """

    examples: int
    accuracy: float
    auc: float | None
    calibration_error: float | None
    log_loss: tuple[float, float]


def histogram(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], bins: int = BINS
) -> Histogram:
    """Count what a model predicted.

    Args:
        probabilities: float64, shape (n, classes), in [0, 1].
        labels: int64, shape (n,), n >= 1, in range.
        bins: even.
    Raises:
        DataError: no rows.
    """
    if not len(labels):
        raise no_rows("the table to measure on")
    two_classes = probabilities.shape[1] == 2
    if two_classes:
        shown, column = probabilities[:, 1], labels
    else:
        shown = probabilities[np.arange(len(labels)), labels]
        column = (probabilities.argmax(axis=1) == labels).astype(np.int64)
    # Up to and with its upper edge: an even chance counts as class 0, the lower one.
    place = np.clip(np.ceil(shown * bins).astype(np.int64) - 1, 0, bins - 1)
    flat = np.bincount(2 * place + column, minlength=2 * bins)
    return Histogram(flat.reshape(bins, 2).astype(np.int64), two_classes)


def noised(counts: Counts, sigma: float, below: Below = secrets.randbelow) -> Counts:
    """Add discrete Gaussian noise to each count.

    Args:
        counts: int64, any shape.
        sigma: standard deviation, above 0.
        below: gives uniform integers; the operating system's by default.
    Returns:
        int64, of the same shape; some may be negative.
    """
    exact = Fraction(sigma)
    noise = [discrete_gaussian(exact, below) for _ in range(counts.size)]
    return np.asarray(counts + np.array(noise, np.int64).reshape(counts.shape))


def pooled(sites: Sequence[Histogram]) -> Histogram:
    """Count the rows of several sites together.

    Args:
        sites: at least one. A model has two classes or more: who counts as fewer sites do is wrong
            about that, and left out.
    """
    kind = mode(one.two_classes for one in sites)
    alike = [one for one in sites if one.two_classes == kind]
    counts = np.sum([one.counts for one in alike], axis=0)
    return Histogram(counts, kind, math.hypot(*(one.deviation for one in alike)))


def counting(sigma: float) -> Mechanism:
    """What a histogram with such noise costs a person with one row, who is in one of its counts."""
    return Mechanism(kind="discrete", noise_multiplier=sigma, sample_rate=1.0, steps=1)


def metrics_of(found: Histogram) -> CountedMetrics:
    """Tell from counts how good a model is.

    Counts may be negative where they have noise. They are left so: noise has the mean 0, and what
    is cut off at 0 would not.

    Raises:
        LearningError: no row is counted in all.
    """
    counts = found.counts.astype(np.float64)
    total = float(counts.sum())
    if total < 1:
        raise LearningError("no row is counted: there are too few for this noise, use less of it.")
    two = found.two_classes
    low, high = _losses(counts, two)
    return CountedMetrics(
        examples=int(total),
        accuracy=_within(_accuracy(counts, two)),
        auc=_within(_auc(counts)) if two and counts.sum(axis=0).min() >= 1 else None,
        calibration_error=_within(np.abs(_excess(counts)).sum() / total) if two else None,
        log_loss=(_within(low, _LOSS_MAX), _within(high, _LOSS_MAX)),
    )


def intervals_of(found: Histogram, level: float = 0.95) -> dict[str, Interval]:
    """Tell between which figures those of the counts without noise are.

    Args:
        found: with noise in its counts.
        level: chance with which an interval holds its figure, about; in (0, 1).
    Returns:
        For each metric that is defined, by its name in `CountedMetrics`. They tell of the noise
        alone, not of what another sample of patients would give.
    Raises:
        LearningError: no row is counted in all.
    """
    metrics, counts = metrics_of(found), found.counts.astype(np.float64)
    two = found.two_classes
    # No secret: it shows how far noise of this size moves a figure.
    noise = np.random.default_rng(0).normal(0.0, found.deviation, (_DRAWS, *counts.shape))

    def around(low: float, high: float, moves: Floats, most: float = 1.0) -> Interval:
        away = float(np.quantile(np.abs(moves), level))
        return _within(low - away, most), _within(high + away, most)

    def moves(figure: Callable[[Floats], Floats]) -> Floats:
        return np.asarray(figure(counts + noise) - figure(counts))

    accuracy, (least, most) = metrics.accuracy, metrics.log_loss
    intervals = {
        "accuracy": around(accuracy, accuracy, moves(lambda one: _accuracy(one, two))),
        "log_loss": around(least, most, moves(lambda one: _losses(one, two)[1]), _LOSS_MAX),
    }
    if metrics.auc is not None:
        intervals["auc"] = around(metrics.auc, metrics.auc, moves(_auc))
    if (error := metrics.calibration_error) is not None:
        # Noise moves each excess by itself: their sum moves by no more than all moves together.
        excess = np.abs(_excess(noise)).sum(axis=-1) / counts.sum()
        intervals["calibration_error"] = around(error, error, excess)
    return intervals


def _within(figure: float | Floats, most: float = 1.0) -> float:
    return min(max(float(figure), 0.0), most)


def _total(counts: Floats) -> Floats:
    """All rows, at least one; counts of shape (..., bins, 2) give shape (...)."""
    return np.asarray(np.maximum(counts.sum(axis=(-2, -1)), 1.0))


def _accuracy(counts: Floats, two_classes: bool) -> Floats:
    right = counts[..., 1].sum(axis=-1)
    if two_classes:
        half = counts.shape[-2] // 2
        right = counts[..., :half, 0].sum(axis=-1) + counts[..., half:, 1].sum(axis=-1)
    return np.asarray(right / _total(counts))


def _auc(counts: Floats) -> Floats:
    """At least a row of each class is assumed."""
    negatives, positives = counts[..., 0], counts[..., 1]
    below = np.cumsum(negatives, axis=-1) - negatives / 2
    each = [np.maximum(side.sum(axis=-1), 1.0) for side in (negatives, positives)]
    return np.asarray((positives * below).sum(axis=-1) / (each[0] * each[1]))


def _excess(counts: Floats) -> Floats:
    """Rows of class 1 in each interval, less those that its middle promises."""
    middles = (np.arange(counts.shape[-2]) + 0.5) / counts.shape[-2]
    return np.asarray(counts[..., 1] - middles * counts.sum(axis=-1))


def _losses(counts: Floats, two_classes: bool) -> tuple[Floats, Floats]:
    """The least and the greatest mean loss with these counts."""
    edges = np.clip(np.linspace(0, 1, counts.shape[-2] + 1), CLIP, 1 - CLIP)
    low, high = -np.log(edges[1:]), -np.log(edges[:-1])
    if two_classes:
        # A row of class 0 has the other probability: the upper edge is the greater loss.
        least = counts[..., 1] @ low - counts[..., 0] @ np.log(1 - edges[:-1])
        most = counts[..., 1] @ high - counts[..., 0] @ np.log(1 - edges[1:])
    else:
        rows = counts.sum(axis=-1)
        least, most = rows @ low, rows @ high
    total = _total(counts)
    return np.asarray(least / total), np.asarray(most / total)
