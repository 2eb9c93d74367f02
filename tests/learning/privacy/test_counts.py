"""Counts of predictions, their noise, and what they still tell."""

from __future__ import annotations

import math
import secrets
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from tests.learning.privacy.test_accountant import gaussian_epsilon
from wardround.learning.errors import DataError, LearningError
from wardround.learning.metrics import measure
from wardround.learning.privacy.accountant import Neighbours, PrivacyAccount
from wardround.learning.privacy.counts import (
    CLIP,
    Histogram,
    counting,
    histogram,
    intervals_of,
    metrics_of,
    noised,
    pooled,
)
from wardround.learning.privacy.discrete_gaussian import below_of, discrete_gaussian
from wardround.learning.privacy.noise import SecretStream
from wardround.protocol.messages import BINS, Measured

# ---------------------------------------------------------------- the sampler


def probabilities(sigma, reach):
    """Of each integer up to the reach: Canonne, Kamath, Steinke 2020, definition 1."""
    values = np.arange(-reach, reach + 1)
    weights = np.exp(-(values**2) / (2 * sigma**2))
    everything = np.exp(-(np.arange(-1000, 1001) ** 2) / (2 * sigma**2)).sum()
    return values, weights / everything


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 10.0])
def test_discrete_gaussian_when_drawn_often_has_the_stated_probabilities(sigma):
    count, below = 3000, below_of(SecretStream(b"d" * 32))
    exact = Fraction(sigma)
    drawn = np.array([discrete_gaussian(exact, below) for _ in range(count)])
    values, chances = probabilities(sigma, math.ceil(3 * sigma))
    seen = np.array([(drawn == value).sum() for value in values])
    kept = chances * count >= 5
    expected = chances[kept] * count
    observed = [*seen[kept], count - seen[kept].sum()]
    rest = max(count - expected.sum(), 1e-9)
    if rest < 5:  # too few to compare
        observed, expected = observed[:-1], expected * sum(observed[:-1]) / expected.sum()
    else:
        expected = [*expected, rest]
    assert stats.chisquare(observed, expected).pvalue > 0.001
    assert stats.kstest(drawn + np.random.default_rng(1).uniform(-0.5, 0.5, count), "norm",
                        args=(0, sigma)).pvalue > 0.001 or sigma < 2  # fmt: skip


def test_discrete_gaussian_when_sigma_is_one_has_the_published_moments():
    """The paper's figure 1 and proposition 21: a variance below that of the continuous one."""
    values, chances = probabilities(1.0, 100)
    assert chances.max() == pytest.approx(1 / math.sqrt(2 * math.pi), abs=1e-8)
    variance = float((values**2) @ chances)
    assert 1 - 4 * math.pi**2 * 2 * math.exp(-2 * math.pi**2) * 1.01 < variance < 1


@given(st.integers(1, 2**130), st.integers(0, 2**32))
def test_below_when_asked_for_any_limit_is_within_it(limit, seed):
    below = below_of(SecretStream(seed.to_bytes(32, "big")))
    assert all(0 <= below(limit) < limit for _ in range(5))


def test_below_when_drawn_often_is_uniform():
    below = below_of(SecretStream(b"u" * 32))
    seen = np.bincount([below(7) for _ in range(7000)], minlength=7)
    assert stats.chisquare(seen).pvalue > 0.001


def test_noise_when_keyed_repeats_and_otherwise_does_not():
    counts = np.arange(12).reshape(6, 2)
    first, again = (noised(counts, 4.0, below_of(SecretStream(b"k" * 32))) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.dtype == np.int64
    assert first.shape == (6, 2)
    fresh = {tuple(noised(counts, 4.0).ravel()) for _ in range(3)}
    assert len(fresh) == 3
    assert noised.__defaults__ == (secrets.randbelow,)


def test_noise_when_released_costs_what_its_mechanism_says():
    once = PrivacyAccount(mechanisms=[counting(8.0)])
    more, replaced = (once.epsilon(1e-6, which) for which in Neighbours)
    # Continuous Gaussian noise of this size, of sensitivity 1 and of the square root of 2.
    assert more == pytest.approx(gaussian_epsilon(8.0, 1e-6), rel=0.02)
    assert replaced == pytest.approx(gaussian_epsilon(8.0 / math.sqrt(2), 1e-6), rel=0.02)


# ---------------------------------------------------------------- what counts tell

shares = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1))


@given(shares, st.data())
def test_metrics_when_counted_are_those_of_the_rows(positive, data):
    labels = data.draw(hnp.arrays(np.int64, len(positive), elements=st.integers(0, 1)))
    found = histogram(np.stack([1 - positive, positive], axis=1), labels)
    assert found.counts.sum() == len(labels)
    metrics = metrics_of(found)
    assert metrics.examples == len(labels)
    predicted = (positive > 0.5).astype(int)
    assert metrics.accuracy == pytest.approx((predicted == labels).mean())
    clipped = np.clip(positive, CLIP, 1 - CLIP)
    loss = -np.log(np.where(labels == 1, clipped, 1 - clipped)).mean()
    low, high = metrics.log_loss
    assert low - 1e-9 <= loss <= high + 1e-9
    assert (metrics.auc is None) == (len(set(labels.tolist())) == 1)


def test_auc_when_counted_is_that_of_the_rows_but_for_ties():
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 4000)
    positive = np.clip(random.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    both = np.stack([1 - positive, positive], axis=1)
    exact = measure(np.log(both + 1e-300), labels)
    metrics = metrics_of(histogram(both, labels))
    assert exact.auc is not None
    assert metrics.auc == pytest.approx(exact.auc, abs=0.005)
    assert metrics.accuracy == exact.accuracy
    # By hand: two intervals, ties count half.
    small = Histogram(np.array([[3, 1], [1, 2]]), two_classes=True)
    assert metrics_of(small).auc == pytest.approx((1 * 1.5 + 2 * 3.5) / (4 * 3))
    assert metrics_of(small).accuracy == 5 / 7
    assert metrics_of(small).calibration_error == pytest.approx((0 + abs(2 - 0.75 * 3)) / 7)


def test_metrics_when_there_are_more_classes_have_accuracy_and_loss():
    random = np.random.default_rng(4)
    many = random.dirichlet(np.ones(4), 500)
    labels = random.integers(0, 4, 500)
    metrics = metrics_of(histogram(many, labels))
    assert metrics.accuracy == (many.argmax(axis=1) == labels).mean()
    assert (metrics.auc, metrics.calibration_error) == (None, None)
    true = np.clip(many[np.arange(500), labels], CLIP, 1 - CLIP)
    low, high = metrics.log_loss
    assert low <= -np.log(true).mean() <= high


def test_histogram_when_there_is_nothing_to_count_is_refused():
    with pytest.raises(DataError):
        histogram(np.zeros((0, 2)), np.zeros(0, np.int64))
    with pytest.raises(LearningError, match="too few for this noise"):
        metrics_of(Histogram(np.full((BINS, 2), -1), two_classes=True))


@pytest.mark.parametrize("classes", [2, 3])
def test_intervals_when_counts_are_noised_hold_the_true_figures(classes):
    random = np.random.default_rng(5)
    labels = random.integers(0, classes, 300)
    logits = random.standard_normal((300, classes)) + 1.5 * np.eye(classes)[labels]
    predicted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    exact = histogram(predicted, labels)
    truth, sigma, times = metrics_of(exact), 3.0, 40
    held = {"accuracy": 0, "log_loss": 0} | (
        {} if classes > 2 else {"auc": 0, "calibration_error": 0}
    )
    below = below_of(SecretStream(b"i" * 32))
    for _ in range(times):
        shown = Histogram(noised(exact.counts, sigma, below), exact.two_classes, sigma)
        intervals = intervals_of(shown)
        assert intervals.keys() == held.keys()
        for name, (low, high) in intervals.items():
            figure = getattr(truth, name)
            least, most = figure if isinstance(figure, tuple) else (figure, figure)
            held[name] += low <= least and most <= high
    assert min(held.values()) >= 0.85 * times
    none = intervals_of(exact)
    assert none["accuracy"] == pytest.approx((truth.accuracy, truth.accuracy))
    assert none["log_loss"] == pytest.approx(truth.log_loss)


def test_counts_of_several_sites_are_those_of_all_their_rows():
    random = np.random.default_rng(6)
    positive, labels = random.random(60), random.integers(0, 2, 60)
    both = np.stack([1 - positive, positive], axis=1)
    parts = [histogram(both[rows], labels[rows]) for rows in np.split(np.arange(60), 3)]
    assert (pooled(parts).counts == histogram(both, labels).counts).all()
    noisy = [
        replace(part, deviation=sigma) for part, sigma in zip(parts, (0.0, 3.0, 4.0), strict=True)
    ]
    assert pooled(noisy).deviation == pytest.approx(5.0)
    # One site says that the model has more classes: it counts something else.
    odd = replace(parts[0], two_classes=False, deviation=9.0)
    alike = pooled([odd, *noisy])
    assert (alike.counts == histogram(both, labels).counts).all()
    assert (alike.two_classes, alike.deviation) == (True, pytest.approx(5.0))


def test_counts_when_sent_are_read_as_they_were():
    found = histogram(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))
    sent = Measured(counts=found.counts.ravel().tolist(), two_classes=True, noise=2.0)
    read = Histogram.of(sent)
    assert (read.counts == found.counts).all()
    assert (read.two_classes, read.deviation) == (True, 2.0)


@settings(max_examples=30)
@given(hnp.arrays(np.int64, (BINS, 2), elements=st.integers(-50, 50)), st.booleans())
def test_metrics_when_counts_are_of_any_kind_are_in_range(counts, two_classes):
    found = Histogram(counts, two_classes)
    if counts.sum() < 1:
        with pytest.raises(LearningError):
            metrics_of(found)
        return
    metrics = metrics_of(found)
    figures = [metrics.accuracy, metrics.auc, metrics.calibration_error]
    assert all(0 <= one <= 1 for one in figures if one is not None)
    assert all(0 <= one <= -math.log(CLIP) for one in metrics.log_loss)
