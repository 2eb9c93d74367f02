import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from tests.learning.networks import named_model
from wardround.learning.datasets.table import Table
from wardround.learning.errors import DataError, LearningError
from wardround.learning.metrics import Metrics, evaluate, evaluate_sites, measure, rank_auc
from wardround.learning.models import flatten

# Few distinct scores, so that ties are the rule.
pairs = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=60)


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def table(n, classes=2, seed=0, d=4):
    random = np.random.default_rng(seed)
    return Table(random.standard_normal((n, d)).astype(np.float32), random.integers(0, classes, n))


@given(pairs)
def test_rank_auc_equals_scikit_learn(rows):
    scores = np.array([score for score, _ in rows], dtype=np.float64)
    positive = np.array([truth for _, truth in rows])
    area = rank_auc(scores, positive)
    if positive.all() or not positive.any():
        assert area is None
    else:
        assert area == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "positive", "area"),
    [
        ([1, 2], [False, True], 1.0),
        ([2, 1], [False, True], 0.0),
        ([1, 1], [False, True], 0.5),
        ([1, 2, 2, 3], [False, False, True, True], 0.875),
    ],
)
def test_rank_auc_by_hand(scores, positive, area):
    assert rank_auc(np.array(scores, float), np.array(positive)) == area


@given(seed=st.integers(0, 1000), classes=st.integers(2, 5), n=st.integers(20, 80))
def test_measure_equals_scikit_learn(seed, classes, n):
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, n - classes)])
    logits = random.normal(0, 3, (n, classes))
    found, shares = measure(logits, labels), softmax(logits)
    assert found.accuracy == accuracy_score(labels, logits.argmax(axis=1))
    assert found.log_loss == pytest.approx(log_loss(labels, shares), abs=1e-9)
    scores = (
        {"y_score": shares[:, 1]} if classes == 2 else {"y_score": shares, "multi_class": "ovr"}
    )
    assert found.auc == pytest.approx(roc_auc_score(labels, **scores), abs=1e-12)


def test_measure_when_logits_are_huge_stays_exact():
    found = measure(np.array([[0.0, 1e4], [0.0, -1e4]]), np.array([0, 1]))
    assert found.loss_sum == 2e4
    assert (found.correct, found.auc) == (0, 0.0)


def test_evaluate_equals_scikit_learn_on_the_models_own_probabilities():
    rows = table(300, seed=3)
    model = named_model("logistic", {"features": 4}, seed=1)
    weights = flatten(model)
    logits = rows.features.astype(np.float64) @ weights[:4] + weights[4]
    found = evaluate(model, weights, rows)
    assert found.examples == 300
    assert found.correct == ((logits > 0) == rows.labels).sum()
    assert found.log_loss == pytest.approx(log_loss(rows.labels, 1 / (1 + np.exp(-logits))), 1e-6)
    assert found.auc == pytest.approx(roc_auc_score(rows.labels, logits), abs=1e-4)


def test_evaluate_when_one_class_only_has_no_auc():
    rows = Table(np.ones((3, 4), np.float32), np.ones(3, np.int64))
    model = named_model("logistic", {"features": 4}, seed=1)
    found = evaluate(model, flatten(model), rows)
    assert found.auc is None
    assert math.isfinite(found.log_loss)


def test_evaluate_when_rows_exceed_a_chunk_counts_all():
    rows = table(2500, classes=3)
    model = named_model("logistic", {"features": 4, "classes": 3}, seed=1)
    weights = flatten(model)
    logits = rows.features @ weights[:12].reshape(3, 4).T + weights[12:]
    found = evaluate(model, weights, rows)
    assert found == evaluate(model, weights, rows)
    assert found.correct == (logits.argmax(axis=1) == rows.labels).sum()


def test_evaluate_sites_pools_the_union_of_rows():
    tables = [table(n, seed=n) for n in (5, 50, 500)]
    model = named_model("mlp", {"features": 4, "hidden": [3]}, seed=1)
    weights = flatten(model)
    each, union = evaluate_sites(model, weights, tables)
    assert each == [evaluate(model, weights, one) for one in tables]
    merged = Table(
        np.concatenate([one.features for one in tables]),
        np.concatenate([one.labels for one in tables]),
    )
    whole = evaluate(model, weights, merged)
    assert (
        (union.examples, union.correct) == (whole.examples, whole.correct) == (555, whole.correct)
    )
    assert union.auc == pytest.approx(whole.auc, abs=1e-9)
    assert union.loss_sum == pytest.approx(sum(one.loss_sum for one in each))


def test_accuracy_and_loss_are_means_over_rows():
    found = Metrics(4, 1, 2.0, None)
    assert (found.accuracy, found.log_loss) == (0.25, 0.5)


def test_measuring_nothing_is_refused():
    model = named_model("logistic", {"features": 4}, seed=1)
    for call in (
        lambda: evaluate(model, flatten(model), table(0)),
        lambda: evaluate_sites(model, flatten(model), []),
        lambda: measure(np.zeros((0, 2)), np.zeros(0, np.int64)),
    ):
        with pytest.raises(DataError):
            call()


def test_evaluate_when_input_is_bad_says_why():
    model = named_model("logistic", {"features": 4}, seed=1)
    weights = flatten(model)
    rows = table(5)
    rows.labels[2] = 2
    with pytest.raises(DataError, match="row 2"):
        evaluate(model, weights, rows)
    weights[0] = np.nan
    with pytest.raises(LearningError):
        evaluate(model, weights, table(5))
    huge = np.full(5, 3e38, np.float32)
    ones = Table(np.ones((2, 4), np.float32), np.zeros(2, np.int64))
    with pytest.raises(LearningError, match="row 0"):
        evaluate(model, huge, ones)
