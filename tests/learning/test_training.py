import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.learning.networks import named_model
from wardround.learning.datasets import load_dataset
from wardround.learning.datasets.table import Table
from wardround.learning.errors import DataError, LearningError
from wardround.learning.metrics import evaluate
from wardround.learning.models import flatten
from wardround.learning.training import train_locally
from wardround.protocol.errors import ProtocolError
from wardround.protocol.study import TrainingSpec


def spec(**changes):
    return TrainingSpec(**{"learning_rate": 0.1, "batch_size": 4, "local_epochs": 1} | changes)


def table(n=10, d=3, classes=2, seed=0):
    random = np.random.default_rng(seed)
    features = random.standard_normal((n, d)).astype(np.float32)
    return Table(features, random.integers(0, classes, n))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def gradient(weights, rows):
    """The exact gradient of logistic regression, in float64."""
    x = np.hstack([rows.features.astype(np.float64), np.ones((len(rows), 1))])
    return x.T @ (sigmoid(x @ weights) - rows.labels) / len(rows)


class Watching(nn.Module):
    """Keeps the rows it is trained on."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen = []

    def forward(self, rows):
        if self.training:
            self.seen.append(rows.flatten().int().tolist())
        return self.layer(rows)


def numbered(n):
    return Table(np.arange(n, dtype=np.float32)[:, None], np.zeros(n, np.int64))


def test_train_when_full_batch_takes_the_exact_gradient_step():
    rows, start = table(50), np.array([0.3, -0.2, 0.1, 0.5], np.float32)
    model = named_model("logistic", {"features": 3}, seed=0)
    training = spec(batch_size=0, local_epochs=None, local_steps=1)
    result = train_locally(model, start, rows, training, seed=1)
    expected = start - 0.1 * gradient(start.astype(np.float64), rows)
    assert result.weights == pytest.approx(expected, abs=1e-7)
    assert (result.examples, result.steps) == (50, 1)
    assert result.mean_loss == pytest.approx(evaluate(model, start, rows).log_loss, abs=1e-6)


@given(n=st.integers(1, 30), batch=st.integers(1, 12), steps=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_train_when_steps_cross_epochs_sees_every_row_once_an_epoch(n, batch, steps):
    model = Watching()
    training = spec(batch_size=batch, local_epochs=None, local_steps=steps, learning_rate=1e-6)
    result = train_locally(model, flatten(model), numbered(n), training, seed=5)
    assert result.steps == steps == len(model.seen)
    an_epoch = -(-n // batch)
    for start in range(0, steps, an_epoch):
        batches = model.seen[start : start + an_epoch]
        rows = [row for one in batches for row in one]
        assert len(rows) == len(set(rows))
        if len(batches) == an_epoch:
            assert sorted(rows) == list(range(n))
            assert len(batches[-1]) == (n % batch or batch)


def test_train_when_epochs_are_given_shuffles_each_anew():
    model = Watching()
    training = spec(local_epochs=2, batch_size=4, learning_rate=1e-6)
    assert train_locally(model, flatten(model), numbered(10), training, seed=0).steps == 6
    assert [len(batch) for batch in model.seen] == [4, 4, 2, 4, 4, 2]
    assert model.seen[:3] != model.seen[3:]


def test_train_when_repeated_gives_equal_bits_and_leaves_the_world_alone():
    rows = table(40, classes=3)
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    start = flatten(model)
    kept = start.copy()
    torch.manual_seed(9)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first = train_locally(model, start, rows, spec(local_epochs=3), seed=11)
    bits = first.weights.tobytes()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.rand(3)
    second = train_locally(model, start, rows, spec(local_epochs=3), seed=11)
    assert second.weights.tobytes() == bits == first.weights.tobytes()
    assert second.mean_loss == first.mean_loss
    other = train_locally(model, start, rows, spec(local_epochs=3), seed=12)
    assert other.weights.tobytes() != bits
    assert start.tobytes() == kept.tobytes()


def test_train_when_momentum_or_adam_starts_the_optimiser_anew():
    rows = table(16)
    model = named_model("logistic", {"features": 3}, seed=0)
    start = flatten(model)
    for changes in ({"momentum": 0.9}, {"optimizer": "adam"}, {"weight_decay": 0.1}):
        once = train_locally(model, start, rows, spec(**changes), seed=0).weights
        again = train_locally(model, start, rows, spec(**changes), seed=0).weights
        assert once.tobytes() == again.tobytes()
        plain = train_locally(model, start, rows, spec(), seed=0).weights
        assert once.tobytes() != plain.tobytes()


def trained_cnn() -> str:
    asked = {"rows": 200, "features": [1, 8, 8], "classes": 4}
    rows = load_dataset("generated", asked).sites[0].train
    model = named_model("cnn", {"side": 8, "classes": 4}, 3)
    training = TrainingSpec(learning_rate=0.05, batch_size=7, local_epochs=2)
    result = train_locally(model, flatten(model), rows, training, 5)
    return f"{hashlib.sha256(result.weights.tobytes()).hexdigest()} {result.mean_loss}"


def test_train_when_in_another_process_gives_equal_bits():
    program = "from tests.learning.test_training import trained_cnn; print(trained_cnn())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == trained_cnn()


@pytest.mark.parametrize(
    ("name", "arguments", "features", "classes"),
    [
        ("mlp", {"features": 20, "hidden": [32], "classes": 4}, 20, 4),
        ("cnn", {"side": 8, "classes": 2}, [1, 8, 8], 2),
    ],
)
def test_train_learns_what_can_be_learnt(name, arguments, features, classes):
    data = load_dataset(
        "generated", {"rows": 600, "features": features, "classes": classes, "sites": 1}
    )
    site = data.sites[0]
    model = named_model(name, arguments, seed=0)
    start = flatten(model)
    before = evaluate(model, start, site.test)
    training = spec(optimizer="adam", learning_rate=0.01, batch_size=32, local_epochs=8)
    result = train_locally(model, start, site.train, training, seed=0)
    after = evaluate(model, result.weights, site.test)
    assert after.accuracy > 0.65 > before.accuracy
    assert after.log_loss < before.log_loss
    assert result.steps == 152


def test_train_when_full_batch_fedsgd_follows_pooled_gradient_descent():
    sites = [table(n, seed=n) for n in (7, 30, 113)]
    union = Table(
        np.concatenate([s.features for s in sites]), np.concatenate([s.labels for s in sites])
    )
    model = named_model("logistic", {"features": 3}, seed=0)
    training = spec(batch_size=0, local_epochs=None, local_steps=1)
    federated = flatten(model)
    pooled = federated.astype(np.float64)
    for number in range(30):
        results = [train_locally(model, federated, s, training, seed=number) for s in sites]
        total = sum(result.examples for result in results)
        federated = sum(
            (r.weights.astype(np.float64) * r.examples / total for r in results), np.zeros(4)
        ).astype(np.float32)
        pooled = pooled - 0.1 * gradient(pooled, union)
    assert federated == pytest.approx(pooled, abs=2e-6)
    assert abs(pooled - flatten(named_model("logistic", {"features": 3}, 0))).max() > 0.1


def test_train_when_table_is_empty_is_refused():
    model = named_model("logistic", {"features": 3}, seed=0)
    with pytest.raises(DataError, match="training table has no rows"):
        train_locally(model, flatten(model), table(0), spec(), seed=0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_train_when_weights_are_not_finite_is_refused(value):
    model = named_model("logistic", {"features": 3}, seed=0)
    weights = flatten(model)
    weights[2] = value
    with pytest.raises(LearningError, match="weight 2"):
        train_locally(model, weights, table(), spec(), seed=0)


def test_train_when_weights_have_another_length_is_refused():
    model = named_model("logistic", {"features": 3}, seed=0)
    with pytest.raises(ProtocolError):
        train_locally(model, np.zeros(5, np.float32), table(), spec(), seed=0)


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_train_when_a_label_has_no_output_names_the_row(outputs):
    model = nn.Linear(3, outputs)
    classes = max(2, outputs)
    rows = table()
    rows.labels[7] = classes
    with pytest.raises(DataError, match=rf"row 7 .* not in 0 \.\. {classes - 1}"):
        train_locally(model, flatten(model), rows, spec(), seed=0)


@pytest.mark.parametrize("features", [2, 4])
def test_train_when_features_do_not_fit_the_model_says_so(features):
    model = named_model("logistic", {"features": 3}, seed=0)
    with pytest.raises(LearningError, match=rf"features \({features},\)"):
        train_locally(model, flatten(model), table(d=features), spec(), seed=0)


def test_train_when_output_is_no_row_of_logits_says_so():
    model = nn.Conv1d(1, 1, 1)
    rows = Table(np.ones((4, 1, 5), np.float32), np.zeros(4, np.int64))
    with pytest.raises(LearningError, match="one row gives"):
        train_locally(model, flatten(model), rows, spec(), seed=0)


@pytest.mark.parametrize(("steps", "what"), [(1, "a weight"), (200, "the loss")])
def test_train_when_it_diverges_never_returns_weights(steps, what):
    rows = Table(np.full((8, 3), 3e38, np.float32), np.ones(8, np.int64))
    model = named_model("logistic", {"features": 3}, seed=0)
    training = spec(learning_rate=1000.0, local_epochs=None, local_steps=steps)
    with pytest.raises(LearningError, match=f"{what} is .* lower the learning rate"):
        train_locally(model, np.zeros(4, np.float32), rows, training, seed=0)
