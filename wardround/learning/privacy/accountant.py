"""What private training costs: epsilon at a delta, added up over rounds, studies and years.

A mechanism is what was done to a table: how often, with how much noise, on which share of its
rows. An account is a list of mechanisms, so it can be kept as JSON, added to another, and read
again with a better accountant than today's.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Annotated

from pydantic import Field, FiniteFloat

from wardround.protocol.documents import Form
from wardround.protocol.study import PrivacySpec, StudySpec, TrainingSpec

#: An account grows by one mechanism for each new noise, batch size or number of rows.
MECHANISMS_MAX = 10_000

#: Rényi orders over which the bound is minimised; beyond 1024 the binomials leave float64.
_FRACTIONS = [1 + tenth / 10 for tenth in range(1, 100)]
ORDERS: list[float] = [*_FRACTIONS, *range(11, 64), 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024]


class Mechanism(Form):
    """The Poisson-sampled Gaussian mechanism, taken so many times."""

    noise_multiplier: Annotated[FiniteFloat, Field(ge=0.1, le=1000)]
    #: Chance of each row to be in a step; 1 takes all rows in every step.
    sample_rate: Annotated[FiniteFloat, Field(gt=0, le=1)]
    steps: Annotated[int, Field(ge=1, lt=2**53)]


class PrivacyAccount(Form):
    """All that was done to a table so far. Equal contents make equal accounts."""

    mechanisms: Annotated[list[Mechanism], Field(max_length=MECHANISMS_MAX)] = Field(
        default_factory=list
    )

    def compose(self, *others: PrivacyAccount) -> PrivacyAccount:
        """Add accounts of the same table; their order does not matter."""
        steps: dict[tuple[float, float], int] = {}
        for account in (self, *others):
            for one in account.mechanisms:
                kind = (one.noise_multiplier, one.sample_rate)
                steps[kind] = steps.get(kind, 0) + one.steps
        return PrivacyAccount(
            mechanisms=[
                Mechanism(noise_multiplier=noise, sample_rate=rate, steps=count)
                for (noise, rate), count in sorted(steps.items())
            ]
        )

    def epsilon(self, delta: float) -> float:
        """Bound what anyone can learn about any one row.

        Args:
            delta: chance with which the bound may fail, in (0, 1).
        Returns:
            At least 0; 0 for an empty account. For tables that differ by one row more or less.
        Source:
            Mironov, Talwar, Zhang 2019 (arXiv:1908.10530), by Opacus, for the Rényi divergence of
            each step; Balle et al. 2020 (arXiv:1905.09982), theorem 21, for the conversion.
        """
        if not self.mechanisms:
            return 0.0
        from opacus.accountants.analysis.rdp import get_privacy_spent

        spent = [0.0] * len(ORDERS)
        for one in self.mechanisms:
            each = renyi_divergence(one.noise_multiplier, one.sample_rate)
            spent = [total + one.steps * value for total, value in zip(spent, each, strict=True)]
        with warnings.catch_warnings():
            # It recommends more orders when the best is the first or last; any order is a bound.
            warnings.filterwarnings("ignore", "Optimal order is the", UserWarning)
            epsilon, _ = get_privacy_spent(orders=ORDERS, rdp=spent, delta=delta)
        return max(0.0, float(epsilon))


def mechanism_of(training: TrainingSpec, privacy: PrivacySpec, rows: int) -> Mechanism:
    """What one round does to a table of so many rows.

    Args:
        training: batch size and length. A batch size of 0, or of at least ``rows``, takes every
            row in every step.
        privacy: the noise.
        rows: at least 1.
    """
    return Mechanism(
        noise_multiplier=float(privacy.noise_multiplier),
        sample_rate=min(training.batch_size or rows, rows) / rows,
        steps=count_steps(training, rows),
    )


def count_steps(training: TrainingSpec, rows: int) -> int:
    """How many steps one round takes on a table of so many rows."""
    if training.local_steps is not None:
        return training.local_steps
    assert training.local_epochs is not None  # the specification has exactly one
    return training.local_epochs * math.ceil(rows / (training.batch_size or rows))


def forecast(spec: StudySpec, rows: int) -> PrivacyAccount:
    """What a study costs a table of so many rows when the site takes part in every round.

    Returns:
        The account; empty when the study asks for no privacy and so bounds nothing.
    """
    if spec.privacy is None:
        return PrivacyAccount()
    one = mechanism_of(spec.training, spec.privacy, rows)
    whole = one.model_copy(update={"steps": one.steps * spec.study.rounds})
    return PrivacyAccount(mechanisms=[whole])


@lru_cache(maxsize=1024)
def renyi_divergence(noise_multiplier: float, sample_rate: float) -> tuple[float, ...]:
    """Rényi divergence of one step at every order of `ORDERS`."""
    # Opacus brings PyTorch with it, which takes seconds: only for those who ask.
    from opacus.accountants.analysis.rdp import compute_rdp

    values = compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=ORDERS)
    # Rounding may leave a tiny negative where the divergence is next to nothing.
    return tuple(max(0.0, float(value)) for value in values)
