"""Training and its noise: sums by hand, and what one row can change."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from tests.learning.networks import named_model
from tests.learning.privacy.tiny import STUDY, privacy, training
from wardround.learning.datasets.table import Table
from wardround.learning.errors import LearningError
from wardround.learning.metrics import evaluate
from wardround.learning.models import flatten
from wardround.learning.models.flat import load_flat
from wardround.learning.privacy import descent
from wardround.learning.privacy.accountant import (
    Mechanism,
    PrivacyAccount,
    account_of,
    mechanism_of,
)
from wardround.learning.privacy.noise import NoiseSecret, SecretStream
from wardround.learning.privacy.terms import PrivateTerms
from wardround.learning.training import train_locally
from wardround.protocol.study import load_study


def account(noise=1.1, rate=0.01, steps=100):
    one = Mechanism(noise_multiplier=noise, sample_rate=rate, steps=steps)
    return PrivacyAccount(mechanisms=[one])


def terms(secret=b"\x07" * 32, context=b"study 1, round 1", before=None, persons=None, **changes):
    before = before or PrivacyAccount()
    return PrivateTerms(privacy(**changes), NoiseSecret(secret), context, before, persons)


def patients(*persons, **changes):
    """Terms of a study that counts a patient as one."""
    return terms(persons=np.array(persons, np.int64), unit="patient", **changes)


def table(n=20, d=3, classes=2, seed=0):
    random = np.random.default_rng(seed)
    features = random.standard_normal((n, d)).astype(np.float32)
    return Table(features, random.integers(0, classes, n))


def logistic(d=3):
    model = named_model("logistic", {"features": d}, seed=0)
    return model, flatten(model)


# ---------------------------------------------------------------- the noise


def test_stream_when_the_key_is_zero_is_aes_256():
    words = SecretStream(bytes(32)).words(2)
    # NIST's known answer for AES-256, all key and counter bits zero.
    assert words.astype("<u8").tobytes().hex() == "dc95c078a2408989ad48a21492842087"


def test_normal_numbers_are_normal_and_independent():
    stream = SecretStream(b"n" * 32)
    first, second = stream.normal(200_001), stream.normal(200_001)
    assert first.dtype == np.float64
    assert len(first) == 200_001
    assert stats.kstest(np.concatenate([first, second]), "norm").pvalue > 0.01
    for lag in (1, 2, 1 << 14, 1 << 15):
        assert abs(np.corrcoef(first[:-lag], first[lag:])[0, 1]) < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.01
    assert np.isfinite(first).all()
    assert 4 < np.abs(first).max() < 9.6


def test_normal_numbers_when_the_words_are_extreme_are_finite():
    class Extreme(SecretStream):
        def words(self, count):
            ends = np.array([0, 2**64 - 1], dtype=np.uint64)
            return np.resize(ends, count)

    values = Extreme(bytes(32)).normal(6)
    assert np.isfinite(values).all()
    assert np.abs(values).max() == pytest.approx(9.5, abs=0.1)


def test_rows_when_chosen_are_each_taken_with_the_same_chance():
    stream = SecretStream(b"c" * 32)
    counts, sizes = np.zeros(50), []
    for _ in range(4000):
        index = stream.choose(50, 0.2)
        assert (np.diff(index) > 0).all()
        counts[index] += 1
        sizes.append(len(index))
    # The number of rows varies as a binomial's does; with a fixed batch it would not at all.
    assert np.var(sizes) == pytest.approx(50 * 0.2 * 0.8, rel=0.1)
    assert stats.chisquare(counts).pvalue > 0.01
    assert stream.choose(5, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert len(stream.choose(5, 1e-18)) == 0


def test_secret_shows_nothing_and_is_of_full_length():
    secret = NoiseSecret(b"\x41" * 32)
    assert "41" not in repr(secret)
    assert "A" not in repr(secret)
    assert "A" * 5 not in repr(terms(secret=b"\x41" * 32))
    for short in (b"", b"\x41" * 31, b"\x41" * 33):
        with pytest.raises(LearningError) as refusal:
            NoiseSecret(short)
        assert "A" not in str(refusal.value)


def test_streams_when_any_input_differs_are_others():
    secret = NoiseSecret(b"s" * 32)
    inputs = [[], [b""], [b"a"], [b"a", b""], [b"a", b"b"], [b"ab"], [b"b", b"a"]]
    assert len({secret.stream(one).words(2).tobytes() for one in inputs}) == len(inputs)
    assert secret.stream([b"a"]).words(2).tolist() == secret.stream([b"a"]).words(2).tolist()


# ---------------------------------------------------------------- the descent


def gradients(weights, rows):
    """Each row's exact gradient of logistic regression; float64, shape (n, P)."""
    x = np.hstack([rows.features.astype(np.float64), np.ones((len(rows), 1))])
    return (1 / (1 + np.exp(-x @ weights)) - rows.labels)[:, None] * x


def clipped(each, norm):
    return each * np.minimum(1, norm / np.linalg.norm(each, axis=1))[:, None]


@pytest.mark.parametrize("batch", [0, 6])
def test_step_when_done_by_hand_gives_the_same_weights(batch):
    rows = table(30)
    model, start = logistic()
    conditions = terms(noise_multiplier=0.7, max_grad_norm=0.4)
    plan = training(batch_size=batch, local_steps=3)
    result = train_locally(model, start, rows, plan, seed=1, private=conditions)
    stream = conditions.stream(model, start, rows, plan, 1)
    weights = start.astype(np.float64)
    for _ in range(3):
        index = stream.choose(30, 1.0 if batch == 0 else 6 / 30)
        total = clipped(gradients(weights, rows)[index], 0.4).sum(axis=0)
        # The noise of one parameter after the other: three weights, one bias.
        noise = np.concatenate([stream.normal(3), stream.normal(1)])
        weights -= 0.1 * (total + 0.7 * 0.4 * noise) / (batch or 30)
    assert result.weights == pytest.approx(weights, abs=1e-6)
    assert result.weights != pytest.approx(start, abs=1e-3)


def test_noise_when_measured_over_many_trainings_is_as_large_as_promised():
    model, start = logistic()
    rows, plan = table(10), training(batch_size=0, local_steps=1, learning_rate=1.0)
    moves = []
    for number in range(400):
        conditions = terms(context=str(number).encode(), noise_multiplier=3.0, max_grad_norm=2.0)
        result = train_locally(model, start, rows, plan, seed=0, private=conditions)
        moves.append(result.weights - start)
    moves = np.array(moves)
    scaled = (moves - moves.mean(axis=0)) / (3.0 * 2.0 / 10)
    assert stats.kstest(scaled.ravel(), "norm").pvalue > 0.01


def test_sum_when_rows_are_many_is_exact_where_float32_is_not():
    """One row of full length among 100,000 tiny ones, which sums of float32 would round away."""
    count = 100_000
    model = nn.Linear(2, 1, bias=False)
    optimizer = descent.SecretNoise(
        torch.optim.SGD(model.parameters(), lr=1.0), privacy(), count, SecretStream(bytes(32))
    )
    rows = torch.full((count, 1, 2), 3e-9)
    rows[0] = torch.tensor([[30.0, 40.0]])
    model.weight.grad_sample = rows
    optimizer.clip_and_accumulate()
    exact = torch.tensor([[0.6, 0.8]], dtype=torch.float64) + (count - 1) * rows[1].double()
    assert model.weight.summed_grad.dtype == torch.float64
    assert torch.allclose(model.weight.summed_grad, exact, rtol=1e-13, atol=0)


extreme = st.floats(width=32, allow_nan=False, allow_infinity=False)


def moved(rows, units):
    """How far one step moves the sum of gradients, with the noise held still; float64, (P,)."""
    model, start = logistic()
    flat = load_flat(model, start)
    model.train()
    descent.descend_privately(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        torch.tensor(rows.features),
        torch.tensor(rows.labels),
        units,
        privacy(max_grad_norm=0.5),
        Mechanism(noise_multiplier=1.0, sample_rate=1.0, steps=1),
        SecretStream(b"k" * 32),
    )
    # A step is divided by the expected number of units.
    return (flat.numpy().astype(np.float64) - start) * (units.max() + 1)


@given(row=st.lists(extreme, min_size=3, max_size=3), label=st.integers(0, 1))
@settings(max_examples=40, deadline=None)
def test_update_when_one_row_is_added_moves_no_further_than_the_clipping_norm(row, label):
    """With the noise held still, so that nothing hides what the row does."""
    rows = table(8)
    more = Table(
        np.vstack([rows.features, np.array([row], np.float32)]), np.append(rows.labels, label)
    )
    after = [moved(one, np.arange(len(one))) for one in (rows, more)]
    assert np.isfinite(after).all()
    assert np.linalg.norm(after[1] - after[0]) <= 0.5 * (1 + 1e-5) + 1e-5


@given(
    row=st.lists(extreme, min_size=3, max_size=3),
    labels=st.lists(st.integers(0, 1), min_size=50, max_size=50),
    place=st.integers(0, 8),
    at_once=st.sampled_from([7, 50, 1000]),
)
@settings(max_examples=40, deadline=None)
def test_update_when_a_patient_of_50_rows_is_added_moves_no_further_than_for_one_row(
    row, labels, place, at_once
):
    """Also where memory holds 7 rows at a time, and the patient's are among those of others."""
    rows = table(8)
    order = np.random.default_rng(place).permutation(58)
    features = np.vstack([rows.features, np.tile(np.array(row, np.float32), (50, 1))])
    more = Table(features[order], np.append(rows.labels, labels)[order])
    # The others keep their order, and the patient's number is anywhere among theirs.
    numbers = np.array([*(one + (one >= place) for one in range(8)), *[place] * 50])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(descent, "_FLOATS_MAX", 4 * at_once)
        after = [moved(rows, np.arange(8)), moved(more, numbers[order])]
    assert np.isfinite(after).all()
    assert np.linalg.norm(after[1] - after[0]) <= 0.5 * (1 + 1e-5) + 1e-5


def test_update_when_every_patient_has_one_row_is_that_of_rows():
    rows, (model, start), plan = table(30), logistic(), training(batch_size=6)
    by_row = train_locally(model, start, rows, plan, seed=1, private=terms())
    by_patient = train_locally(model, start, rows, plan, seed=1, private=patients(*range(30)))
    assert by_patient.weights.tobytes() == by_row.weights.tobytes() != start.tobytes()
    assert by_patient.privacy is not None
    assert by_row.privacy is not None
    assert by_patient.privacy.epsilon == by_row.privacy.epsilon


@pytest.mark.parametrize("batch", [0, 6])
@pytest.mark.parametrize("at_once", [1, 2, 5, 1000])
def test_step_when_patients_have_many_rows_is_that_done_by_hand(monkeypatch, batch, at_once):
    """Patients are drawn, and each one's mean gradient is clipped, whatever memory holds."""
    rows, count = table(30), 12
    whose = np.random.default_rng(3).permutation(np.append(np.arange(count), [4] * 11 + [7] * 7))
    model, start = logistic()
    monkeypatch.setattr(descent, "_FLOATS_MAX", 4 * at_once)
    conditions = patients(*whose, noise_multiplier=0.7, max_grad_norm=0.4)
    plan = training(batch_size=batch, local_steps=3)
    result = train_locally(model, start, rows, plan, seed=1, private=conditions)
    stream = conditions.stream(model, start, rows, plan, 1)
    weights = start.astype(np.float64)
    for _ in range(3):
        index = stream.choose(count, (batch or count) / count)
        each = gradients(weights, rows)
        means = np.array([each[whose == one].mean(axis=0) for one in range(count)])
        total = clipped(means, 0.4)[index].sum(axis=0)
        noise = np.concatenate([stream.normal(3), stream.normal(1)])
        weights -= 0.1 * (total + 0.7 * 0.4 * noise) / (batch or count)
    assert result.weights == pytest.approx(weights, abs=1e-6)
    assert result.privacy is not None
    assert result.privacy.mechanism.sample_rate == (batch or count) / count
    assert result.examples == 30


def test_training_when_the_persons_are_not_those_of_the_rows_is_refused():
    model, start = logistic()
    with pytest.raises(LearningError, match="known whose 3 rows are, and there are 20"):
        train_locally(model, start, table(), training(), seed=1, private=patients(0, 0, 1))


def test_training_when_delta_allows_a_whole_patient_is_refused():
    visits = [*range(100)] * 2
    with pytest.raises(LearningError, match="not below 1 / 100, one over this site's patients"):
        patients(*visits, delta=0.01).spend(training(), 200)
    assert patients(*visits, delta=0.0099).spend(training(), 200).mechanism.unit == "patient"


def test_training_when_repeated_is_equal_and_leaves_the_world_alone():
    rows = table(40, classes=3)
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    start = flatten(model)
    state = torch.get_rng_state()
    first = train_locally(model, start, rows, training(), seed=1, private=terms())
    again = train_locally(model, start, rows, training(), seed=1, private=terms())
    assert first.weights.tobytes() == again.weights.tobytes() != start.tobytes()
    assert torch.equal(torch.get_rng_state(), state)
    for parameter in model.parameters():
        kept = {"grad_sample", "summed_grad", "_forward_counter", "_current_grad_sample"}
        assert not kept & set(vars(parameter))
    assert not model._forward_hooks
    assert all(not one._forward_hooks and not one._backward_hooks for one in model.modules())


def test_training_when_anything_differs_has_other_noise():
    """Equal noise on two inputs would cancel in their difference."""
    rows, (model, start) = table(20), logistic()
    other_row = Table(rows.features.copy(), rows.labels.copy())
    other_row.features[7, 1] = np.nextafter(other_row.features[7, 1], np.float32(9))
    other_label = Table(rows.features.copy(), rows.labels.copy())
    other_label.labels[3] ^= 1
    fewer = Table(rows.features[:-1], rows.labels[:-1])
    other_start = start.copy()
    other_start[0] = np.nextafter(start[0], np.float32(9))
    plan = training()

    def opened(conditions=None, weights=start, data=rows, how=plan, seed=1):
        return (conditions or terms()).stream(model, weights, data, how, seed).words(4).tobytes()

    all_of_them = [
        opened(),
        opened(terms(secret=b"\x08" * 32)),
        opened(terms(context=b"study 1, round 2")),
        opened(terms(noise_multiplier=1.1)),
        opened(terms(max_grad_norm=1.1)),
        opened(weights=other_start),
        opened(data=other_row),
        opened(data=other_label),
        opened(data=fewer),
        opened(how=training(learning_rate=0.2)),
        opened(how=training(local_steps=6)),
        opened(seed=2),
        opened(patients(0, *range(19))),
    ]
    assert len(set(all_of_them)) == len(all_of_them)
    # What was spent before changes neither the training nor its noise.
    assert opened(terms(before=account())) == opened()


def test_training_when_the_study_seed_is_known_does_not_follow_from_it():
    rows, (model, start) = table(20), logistic()
    results = [
        train_locally(model, start, rows, training(), seed=1, private=terms(secret=secret))
        for secret in (b"a" * 32, b"b" * 32)
    ]
    moved = [result.weights - start for result in results]
    assert np.abs(moved[0] - moved[1]).min() > 1e-4


def test_training_when_a_step_draws_no_rows_is_noise_alone():
    rows, (model, start) = table(1000), logistic()
    conditions, plan = terms(), training(batch_size=1, local_steps=30)
    stream = conditions.stream(model, start, rows, plan, 1)
    drawn = []
    for _ in range(30):
        drawn.append(len(stream.choose(1000, 1 / 1000)))
        stream.normal(3), stream.normal(1)
    assert 0 in drawn
    assert max(drawn) > 1
    result = train_locally(model, start, rows, plan, seed=1, private=conditions)
    assert result.steps == 30
    assert np.isfinite(result.weights).all()


def test_training_when_divided_for_memory_gives_the_same(monkeypatch):
    rows = table(50)
    model = named_model("mlp", {"features": 3, "hidden": [8]}, seed=0)
    start = flatten(model)
    plan = training(batch_size=20)
    whole = train_locally(model, start, rows, plan, seed=1, private=terms()).weights
    sizes = []
    forward = descent._row_gradients
    monkeypatch.setattr(descent, "_FLOATS_MAX", 3 * len(start))
    monkeypatch.setattr(
        descent,
        "_row_gradients",
        lambda model, parameters, features, labels: (
            sizes.append(len(labels)),
            forward(model, parameters, features, labels),
        ),
    )
    parts = train_locally(model, start, rows, plan, seed=1, private=terms()).weights
    assert parts == pytest.approx(whole, abs=1e-6)
    assert max(sizes) == 3
    assert len(sizes) > 5 * 5


class Tied(nn.Module):
    """Uses one parameter twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.last = nn.Linear(3, 2)

    def forward(self, rows):
        return self.last(self.second(torch.tanh(self.first(rows))))


NETWORKS = [
    (lambda: named_model("mlp", {"features": 3, "hidden": [8, 8], "classes": 3}, 0), (3,)),
    (lambda: named_model("cnn", {"side": 8, "classes": 3}, 0), (1, 8, 8)),
    (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3)),
     (1, 4, 4)),
    (lambda: nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2)), (3,)),
    (Tied, (3,)),
]  # fmt: skip


@pytest.mark.parametrize(("build", "shape"), NETWORKS)
def test_gradients_of_single_rows_add_up_to_the_whole(build, shape):
    """With wide clipping and next to no noise, private training is ordinary training."""
    random = np.random.default_rng(3)
    rows = Table(random.standard_normal((12, *shape)).astype(np.float32), random.integers(0, 2, 12))
    model = build()
    start, plan = flatten(model), training(batch_size=0, local_steps=1)
    plain = train_locally(model, start, rows, plan, seed=1).weights
    conditions = terms(noise_multiplier=0.1, max_grad_norm=1e3)
    noisy = train_locally(model, start, rows, plan, seed=1, private=conditions).weights
    stream = conditions.stream(model, start, rows, plan, 1)
    noise = np.concatenate([stream.normal(one.numel()) for one in model.parameters()])
    assert noisy + 0.1 * (0.1 * 1e3 / 12) * noise == pytest.approx(plain, abs=1e-5)


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, rows):
        return self.layer(rows - rows.mean(dim=0))


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, rows):
        return self.used(rows)


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.layer.register_buffer("mask", torch.ones(3), persistent=False)

    def forward(self, rows):
        return self.layer(rows * self.layer.mask)


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (Centred, LearningError),
        (lambda: nn.Sequential(nn.Unflatten(1, (1, 3)),
                               nn.BatchNorm1d(1, track_running_stats=False),
                               nn.Flatten(), nn.Linear(3, 1)), LearningError),
        (Idle, LearningError),
        (Constant, LearningError),
    ],
)  # fmt: skip
def test_network_when_rows_cannot_be_told_apart_is_refused(build, error):
    model = build()
    with pytest.raises(error, match=type(model).__name__):
        train_locally(model, flatten(model), table(), training(), seed=1, private=terms())
    # It is left as it was found, and can still be trained without privacy.
    assert train_locally(model, flatten(model), table(), training(), seed=1).privacy is None


def test_training_when_one_row_is_all_there_is_works():
    model, start = logistic()
    result = train_locally(model, start, table(1), training(), seed=1, private=terms())
    assert result.privacy.mechanism.sample_rate == 1.0


def test_training_when_epsilon_would_be_exceeded_stops_before_it_starts():
    rows, (model, start) = table(20), logistic()
    target = account(1.0, 0.2, 10).epsilon(1e-5)
    spent, rounds = PrivacyAccount(), 0
    with pytest.raises(LearningError) as refusal:
        for rounds in range(10):  # noqa: B007
            conditions = terms(before=spent, target_epsilon=target)
            result = train_locally(model, start, rows, training(), seed=1, private=conditions)
            assert result.privacy.epsilon < result.privacy.epsilon_replaced <= target
            spent = result.privacy.account
    assert rounds == 2
    epsilon = account(1.0, 0.2, 15).epsilon(1e-5)
    assert epsilon > target
    assert f"epsilon {epsilon:.3f} at delta 1e-05, more than the {target:g}" in str(refusal.value)


def test_training_when_delta_allows_a_whole_row_is_refused():
    model, start = logistic()
    for rows in (100, 101):
        with pytest.raises(LearningError, match=f"delta 0.01 is not below 1 / {rows}"):
            train_locally(model, start, table(rows), training(), seed=1, private=terms(delta=0.01))
    train_locally(model, start, table(99), training(), seed=1, private=terms(delta=0.01))


def test_loss_when_training_was_private_is_withheld():
    model, start = logistic()
    private = train_locally(model, start, table(), training(), seed=1, private=terms())
    assert private.metrics == {}
    assert private.mean_loss is None
    plain = train_locally(model, start, table(), training(), seed=1)
    assert plain.metrics == {"train_loss": plain.mean_loss}
    assert plain.privacy is None


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_when_private_still_learns(optimizer):
    rows = table(2000, d=4, seed=5)
    rows = Table(rows.features, (rows.features[:, 0] > 0).astype(np.int64))
    model, start = logistic(4)
    plan = training(batch_size=100, local_steps=100, learning_rate=0.1, optimizer=optimizer)
    before = evaluate(model, start, rows).accuracy
    conditions = terms(noise_multiplier=1.0)
    result = train_locally(model, start, rows, plan, seed=1, private=conditions)
    assert result.privacy.epsilon < 5
    assert before < 0.9 < evaluate(model, result.weights, rows).accuracy


PROGRAM = """
import json, sys, numpy as np
from wardround.learning.datasets.table import Table
from wardround.learning.models import build_model, flatten
from wardround.learning.privacy.noise import NoiseSecret
from wardround.learning.privacy.terms import PrivateTerms
from wardround.learning.training import train_locally
from wardround.protocol.model import ModelSpec
from wardround.protocol.study import PrivacySpec, TrainingSpec
logistic = ModelSpec(name="logistic", arguments={"features": 3})
random = np.random.default_rng(0)
rows = Table(random.standard_normal((20, 3)).astype(np.float32), random.integers(0, 2, 20))
model = build_model(logistic, {}, seed=0)
plan = TrainingSpec(learning_rate=0.1, batch_size=4, local_steps=5)
plain = train_locally(model, flatten(model), rows, plan, seed=1).weights.tobytes().hex()
early = "opacus" in sys.modules
spec = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-5)
terms = PrivateTerms(spec, NoiseSecret(b"\\x07" * 32), b"study 1, round 1")
model = build_model(logistic, {}, seed=0)
noisy = train_locally(model, flatten(model), rows, plan, seed=1, private=terms)
print(json.dumps([plain, early, noisy.weights.tobytes().hex(), noisy.privacy.epsilon]))
"""


def test_training_when_in_another_process_gives_equal_bits():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    plain, early, noisy, epsilon = json.loads(done.stdout)
    assert not early, "Opacus is imported where nobody asked for privacy"
    model, start = logistic()
    here = train_locally(model, start, table(), training(), seed=1, private=terms())
    assert here.weights.tobytes().hex() == noisy
    assert here.privacy.epsilon == epsilon
    # Also after private training of the same network object.
    assert train_locally(model, start, table(), training(), seed=1).weights.tobytes().hex() == plain


def test_torch_when_seeded_keeps_32_bits():
    """Why its generator cannot make the noise."""
    numbers = [torch.randn(4, generator=torch.Generator().manual_seed(5 + k)) for k in (0, 2**32)]
    assert torch.equal(*numbers)


def test_account_when_all_rounds_are_trained_has_the_mechanism_of_each():
    spec = load_study(STUDY, "tiny.toml")
    assert spec.privacy is not None
    model, weights = logistic()
    spent = PrivacyAccount()
    for number in range(spec.study.rounds):
        secret = NoiseSecret(bytes([number]) * 32)
        conditions = PrivateTerms(spec.privacy, secret, str(number).encode(), spent)
        result = train_locally(
            model, weights, table(20), spec.training, seed=number, private=conditions
        )
        weights, spent = result.weights, result.privacy.account
        # Twice three batches of 7 of 20 rows; the steps really taken are those accounted for.
        assert result.steps == result.privacy.mechanism.steps == 6
        assert result.privacy.mechanism.sample_rate == 7 / 20
    each = mechanism_of(spec.training, spec.privacy, units=20)
    assert spent == account_of([each] * spec.study.rounds)
    assert result.privacy.epsilon_replaced == spent.epsilon(1e-5) > result.privacy.epsilon > 1
