"""Epsilon against figures from elsewhere, accounts, and what docs/privacy.md states of them."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants.analysis.rdp import compute_rdp
from scipy import stats

from tests.learning.privacy.tiny import privacy, training
from wardround.learning.privacy.accountant import (
    Mechanism,
    Neighbours,
    PrivacyAccount,
    account_of,
    mechanism_of,
)
from wardround.learning.privacy.loss_distribution import epsilon_of
from wardround.learning.privacy.pairs import Counted
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.documents import parse_document
from wardround.protocol.errors import ProtocolError

ADD_REMOVE, REPLACE_ONE = Neighbours


def account(noise=1.1, rate=0.01, steps=100, **fields):
    one = Mechanism(noise_multiplier=noise, sample_rate=rate, steps=steps, **fields)
    return PrivacyAccount(mechanisms=[one])


# ---------------------------------------------------------------- epsilon

# (q, noise multiplier, steps, delta, epsilon, where it is published). All by the moments or Rényi
# accountant of their time, whose conversion was epsilon = min RDP(a) + log(1 / delta) / (a - 1).
MNIST = 256 / 60_000
PUBLISHED = [
    (MNIST, 1.12, 14_063, 1e-5, 2.92, "TensorFlow Privacy, tutorials/README.md, row 1"),
    (MNIST, 0.6, 7_032, 1e-5, 9.74, "TensorFlow Privacy, tutorials/README.md, row 2"),
    (MNIST, 1.2, 2_344, 1e-5, 1.20, "TensorFlow Privacy, tutorials/README.md, row 3"),
    # Their -sr=0.004 is 256 / 60,000, rounded.
    (MNIST, 1.1, 14_063, 1e-5, 3.01, "Opacus, examples/mnist_README.md, -n=60"),
    (MNIST, 0.7, 10_547, 1e-5, 7.10, "Opacus, examples/mnist_README.md, -n=45"),
    (MNIST, 1.3, 3_516, 1e-5, 1.19, "Opacus, examples/mnist_README.md, -n=15"),
    (0.01, 4.0, 10_000, 1e-5, 1.26, "Abadi et al. 2016, section 5.1 (arXiv:1607.00133)"),
    (MNIST, 1.3, 4_688, 1e-5, 1.34, "Bu et al. 2020, figure 4 (10.1162/99608f92.cfc5dd25)"),
    (MNIST, 0.7, 16_407, 1e-5, 8.68, "Bu et al. 2020, figure 4 (10.1162/99608f92.cfc5dd25)"),
]

ORDERS = [1 + tenth / 10 for tenth in range(1, 100)] + list(range(11, 64)) + [128, 256, 512]


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "published", "source"), PUBLISHED, ids=lambda value: value
)
def test_epsilon_when_published_elsewhere_is_lower(rate, noise, steps, delta, published, source):
    divergences = compute_rdp(q=rate, noise_multiplier=noise, steps=steps, orders=ORDERS)
    then = min(
        value + math.log(1 / delta) / (order - 1)
        for order, value in zip(ORDERS, divergences, strict=True)
    )
    assert then == pytest.approx(published, abs=0.02)
    # Distributions of the loss prove less spent than its moments.
    now = account(noise, rate, steps).epsilon(delta, ADD_REMOVE)
    assert 0.6 * then < now < then


# (noise multiplier, sample rate, steps, delta, epsilon with a row more or less, with one replaced),
# by dp-accounting 0.6.0; `make epsilon` computes more of them anew.
DP_ACCOUNTING = [
    (1.0, 0.1067, 100, 1e-5, 7.5314, 11.3202),
    (1.0, 0.2, 20, 1e-3, 4.3229, 6.5666),
    (0.5, 0.05, 200, 1e-6, 28.0851, 32.0664),
    (4.0, 0.01, 10_000, 1e-5, 0.9470, 1.9932),
    (20.0, 1.0, 100, 1e-6, 2.2541, 4.8866),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "delta", "one_more", "replaced"), DP_ACCOUNTING)
def test_epsilon_when_computed_by_dp_accounting_agrees(
    noise, rate, steps, delta, one_more, replaced
):
    spent = account(noise, rate, steps)
    assert spent.epsilon(delta, ADD_REMOVE) == pytest.approx(one_more, abs=0.01)
    assert spent.epsilon(delta, REPLACE_ONE) == pytest.approx(replaced, abs=0.01)


def gaussian_epsilon(noise, delta):
    """The exact figure of the Gaussian mechanism: Balle and Wang 2018, theorem 8, by bisection."""

    def delta_of(epsilon):
        first = stats.norm.cdf(0.5 / noise - epsilon * noise)
        second = math.exp(epsilon + stats.norm.logcdf(-0.5 / noise - epsilon * noise))
        return first - second

    low, high = 0.0, 500.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle) > delta else (low, middle)
    return high


@pytest.mark.parametrize("delta", [1e-5, 1e-30])
@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (4.0, 16), (20.0, 100), (0.3, 1)])
def test_epsilon_when_every_row_is_taken_is_the_exact_one(noise, steps, delta):
    # T steps with noise s are one step with s / sqrt(T); another row is twice as far away.
    once = noise / math.sqrt(steps)
    spent = account(noise, 1.0, steps)
    for neighbours, exact in (
        (ADD_REMOVE, gaussian_epsilon(once, delta)),
        (REPLACE_ONE, gaussian_epsilon(once / 2, delta)),
    ):
        assert exact <= spent.epsilon(delta, neighbours) <= exact * 1.0005 + 0.005


def test_epsilon_when_a_person_has_more_rows_is_that_of_a_larger_sum():
    many = account(4.0, 0.1, 30, rows_each=3).epsilon(1e-5, ADD_REMOVE)
    same = account(4.0 / 3, 1 - 0.9**3, 30).epsilon(1e-5, ADD_REMOVE)
    assert many == pytest.approx(same, rel=1e-9)
    assert many > account(4.0, 0.1, 30).epsilon(1e-5, ADD_REMOVE)


def counted_delta(noise, rows, epsilon):
    """The exact delta of one noised count, output by output."""
    values = np.arange(-60 * noise, 60 * noise + rows + 1)
    here, there = (np.exp(-((values - at) ** 2) / (2 * noise**2)) for at in (0, rows))
    return np.maximum(here - math.exp(epsilon) * there, 0).sum() / here.sum()


@pytest.mark.parametrize(("noise", "rows"), [(1, 1), (4, 1), (4, 3), (20, 2)])
def test_epsilon_when_rows_are_counted_is_the_exact_one(noise, rows):
    delta = 1e-6
    ours = epsilon_of([(Counted(noise, rows), 1)], delta)
    assert counted_delta(noise, rows, ours) <= delta
    assert counted_delta(noise, rows, ours - 0.01) > delta
    # A replaced person leaves one count and joins another.
    spent = account(noise, 1.0, 1, kind="discrete", rows_each=rows)
    assert spent.epsilon(delta, ADD_REMOVE) == ours
    assert spent.epsilon(delta) == epsilon_of([(Counted(noise, rows), 2)], delta)


@given(
    st.sampled_from([0.1, 0.7, 3.0, 1000.0]),
    st.sampled_from([1e-6, 0.01, 0.3, 1 - 1e-12, 1.0]),
    st.integers(1, 300),
    st.sampled_from([1e-12, 1e-6, 1e-3]),
)
@settings(max_examples=12, deadline=None)
def test_epsilon_when_rows_are_replaced_is_no_less_than_when_one_is_more(noise, rate, steps, delta):
    spent = account(noise, rate, steps)
    one_more, replaced = (spent.epsilon(delta, which) for which in Neighbours)
    # Either may be rounded up by the grid.
    assert one_more <= replaced * 1.001 + 0.01
    more = account(noise, rate, steps + 1)
    assert spent.epsilon(delta) <= more.epsilon(delta) * 1.001 + 0.01


def test_epsilon_when_nothing_was_done_is_zero():
    assert PrivacyAccount().epsilon(1e-5) == 0


@pytest.mark.parametrize("noise", [0.1, 1.0, 1000.0])
@pytest.mark.parametrize("rate", [1e-9, 1e-4, 0.5, 1 - 1e-12, 1.0])
def test_epsilon_when_extreme_is_finite_and_grows_with_steps(noise, rate):
    few, many = (account(noise, rate, steps).epsilon(1e-6) for steps in (1, 1000))
    assert 0 <= few <= many < math.inf


mechanisms = st.builds(
    Mechanism,
    noise_multiplier=st.sampled_from([0.5, 1.0, 2.5]),
    sample_rate=st.sampled_from([0.01, 0.1, 1.0]),
    steps=st.integers(1, 1000),
)
accounts = st.builds(PrivacyAccount, mechanisms=st.lists(mechanisms, max_size=4))


@given(accounts, accounts, accounts)
@settings(max_examples=12, deadline=None)
def test_accounts_when_composed_in_any_order_are_equal(a, b, c):
    together = a.compose(b, c)
    assert together == c.compose(a).compose(b) == b.compose(c.compose(a))
    assert parse_account(encoded(together)) == together
    largest = max(one.epsilon(1e-5) for one in (a, b, c))
    assert largest <= together.epsilon(1e-5) * 1.001 + 0.01
    total = sum(one.steps for part in (a, b, c) for one in part.mechanisms)
    assert sum(one.steps for one in together.mechanisms) == total


def encoded(account):
    return canonical_bytes(account.model_dump(mode="json"))


def parse_account(data):
    return parse_document(PrivacyAccount, data, "privacy account", 1_000_000)


GOOD = encoded(account())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}x",
        b'{"mechanisms":4}',
        GOOD.replace(b"0.01", b"1.5"),
        GOOD.replace(b"0.01", b"0"),
        GOOD.replace(b"100", b"0"),
        GOOD.replace(b"100", b"-5"),
        GOOD.replace(b"1.1", b"0"),
        GOOD.replace(b"steps", b"stops"),
        GOOD.replace(b":", b": "),
        b" " * 1_000_001,
    ],
)
def test_account_when_malformed_is_refused(data):
    assert data != GOOD
    with pytest.raises(ProtocolError):
        parse_account(data)


@given(st.binary(max_size=100))
def test_account_when_hostile_gives_an_account_or_one_error(data):
    with contextlib.suppress(ProtocolError):
        assert encoded(parse_account(data)) == data


def test_mechanism_when_a_patient_is_the_unit_costs_each_alike():
    whole = mechanism_of(training(batch_size=8), privacy(unit="patient"), units=20)
    assert whole.unit == "patient"
    assert whole.of_person(50) == whole
    by_row = mechanism_of(training(batch_size=8), privacy(), units=20)
    costs = [account_of([one]).epsilon(1e-5) for one in (whole, by_row, by_row.of_person(2))]
    assert costs[0] == costs[1] < costs[2]
    # Kept apart in an account, where either order gives the same.
    assert account_of([whole, by_row]) == account_of([by_row, whole])
    assert len(account_of([whole, by_row]).mechanisms) == 2


@pytest.mark.parametrize(("batch", "rate"), [(0, 1.0), (50, 1.0), (20, 1.0), (5, 0.25)])
def test_mechanism_when_the_batch_covers_the_table_takes_every_row(batch, rate):
    one = mechanism_of(training(batch_size=batch), privacy(), units=20)
    assert (one.sample_rate, one.steps) == (rate, 5)


# ---------------------------------------------------------------- what docs/privacy.md states

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "privacy.md").read_text("utf-8")


def test_page_when_it_gives_an_epsilon_has_it_from_the_accountant():
    found = re.findall(
        r"^\| (\d+) \| (\d+) \| ([\d.]+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.M
    )
    assert len(found) == 5
    for rows, batch, noise, steps, *stated in found:
        plan = training(batch_size=int(batch), local_steps=int(steps))
        one = mechanism_of(plan, privacy(noise_multiplier=float(noise)), int(rows))
        spent = PrivacyAccount(mechanisms=[one])
        assert [f"{spent.epsilon(1e-5, which):.2f}" for which in Neighbours] == stated


def test_page_when_it_tells_how_sure_a_guess_becomes_is_right():
    found = re.findall(r"^\| ([\d.]+) \| ([\d.]+) %", PAGE, re.M)
    assert len(found) == 5
    for epsilon, percent in found:
        digits = len(percent.partition(".")[2])
        sure = 100 / (1 + math.exp(-float(epsilon)))
        assert f"{sure:.{digits}f}" == percent
