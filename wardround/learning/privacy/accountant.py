"""What private training costs: epsilon at a delta, added up over rounds, studies and years.

A mechanism is what was done to a table: how often, with how much noise, on which share of its
rows. An account is a list of mechanisms, so it can be kept as JSON, added to another, and read
again with a better accountant than today's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, FiniteFloat

from wardround.protocol.documents import Form
from wardround.protocol.study import PrivacySpec, TrainingSpec

if TYPE_CHECKING:
    from wardround.learning.privacy.pairs import Pair

#: An account grows by one mechanism for each new noise, batch size or number of rows.
MECHANISMS_MAX = 10_000


class Neighbours(StrEnum):
    """Which two tables an observer must not tell apart."""

    #: One has a person more. Then the number of people is secret too.
    ADD_REMOVE = "add-remove"
    #: One person is another person: all that can hold where the number of rows is public.
    REPLACE_ONE = "replace-one"


class Mechanism(Form):
    """Noise on sums of what rows add, taken so many times.

    ``gaussian`` is the Poisson-sampled Gaussian mechanism, by which a site trains; ``discrete`` is
    discrete Gaussian noise on each count of a histogram, by which it measures.
    """

    kind: Literal["gaussian", "discrete"] = "gaussian"
    #: What the noise is for: a row, or a person with all rows of theirs.
    unit: Literal["row", "patient"] = "row"
    #: Standard deviation of the noise, in units of the most that one unit adds.
    noise_multiplier: Annotated[FiniteFloat, Field(ge=0.1, le=1000)]
    #: Chance of each unit to be in a step; 1 takes all in every step, as a histogram does.
    sample_rate: Annotated[FiniteFloat, Field(gt=0, le=1)]
    steps: Annotated[int, Field(ge=1, lt=2**53)]
    #: How many units are the person's whose account it is.
    rows_each: Annotated[int, Field(ge=1, lt=2**31)] = 1

    def of_person(self, rows: int) -> Mechanism:
        """Give what this costs a person with so many rows."""
        return self if self.unit == "patient" else self.model_copy(update={"rows_each": rows})


class PrivacyAccount(Form):
    """All that was done to one person's rows so far. Equal contents make equal accounts."""

    mechanisms: Annotated[list[Mechanism], Field(max_length=MECHANISMS_MAX)] = Field(
        default_factory=list
    )

    def compose(self, *others: PrivacyAccount) -> PrivacyAccount:
        """Add accounts of the same person; their order does not matter."""
        return account_of(one for account in (self, *others) for one in account.mechanisms)

    def after(self, mechanism: Mechanism) -> PrivacyAccount:
        """Give what it is once this is done to the person too."""
        return account_of([*self.mechanisms, mechanism])

    def epsilon(self, delta: float, neighbours: Neighbours = Neighbours.REPLACE_ONE) -> float:
        """Bound what anyone can learn about the person.

        Args:
            delta: chance with which the bound may fail, in (0, 1).
            neighbours: which two tables are compared. Every limit on epsilon holds for
                ``REPLACE_ONE``, the greater figure.
        Returns:
            At least 0; 0 for an empty account.
        """
        return _epsilon(tuple(self.mechanisms), delta, neighbours)


def account_of(mechanisms: Iterable[Mechanism]) -> PrivacyAccount:
    """Add up mechanisms; those that differ in their steps alone become one."""
    steps: dict[tuple[str, str, float, float, int], int] = {}
    kinds: dict[tuple[str, str, float, float, int], Mechanism] = {}
    for one in mechanisms:
        kind = (one.kind, one.unit, one.noise_multiplier, one.sample_rate, one.rows_each)
        kinds.setdefault(kind, one)
        steps[kind] = steps.get(kind, 0) + one.steps
    return PrivacyAccount(
        mechanisms=[
            kinds[kind].model_copy(update={"steps": count}) for kind, count in sorted(steps.items())
        ]
    )


def mechanism_of(training: TrainingSpec, privacy: PrivacySpec, units: int) -> Mechanism:
    """What one round does to a table of so many units: rows, or patients.

    Args:
        training: batch size and length. A batch size of 0, or of at least ``units``, takes every
            unit in every step.
        privacy: the noise, and what it is for.
        units: at least 1.
    """
    return Mechanism(
        unit=privacy.unit,
        noise_multiplier=float(privacy.noise_multiplier),
        sample_rate=min(training.batch_size or units, units) / units,
        steps=count_steps(training, units),
    )


def count_steps(training: TrainingSpec, rows: int) -> int:
    """How many steps one round takes on a table of so many rows, or other units."""
    if training.local_steps is not None:
        return training.local_steps
    assert training.local_epochs is not None  # the specification has exactly one
    return training.local_epochs * math.ceil(rows / (training.batch_size or rows))


@lru_cache(maxsize=4096)
def _epsilon(mechanisms: tuple[Mechanism, ...], delta: float, neighbours: Neighbours) -> float:
    # SciPy takes a second to import: only for those who ask.
    from wardround.learning.privacy.loss_distribution import epsilon_of

    # A person who comes and one who goes are seen differently, in all steps alike.
    ways = (False, True) if neighbours == Neighbours.ADD_REMOVE else (False,)
    return max(
        epsilon_of([_pair(one, neighbours, swapped) for one in mechanisms], delta)
        for swapped in ways
    )


def _pair(mechanism: Mechanism, neighbours: Neighbours, swapped: bool) -> tuple[Pair, int]:
    """Give the two distributions that are hardest to tell apart, and how often they are seen.

    Of a person with k rows each step takes at least one with chance ``1 - (1 - rate)**k``, and all
    of them then add at most k times as much as one.
    """
    from wardround.learning.privacy.pairs import Counted, Replaced, Sampled

    rows = mechanism.rows_each
    if mechanism.kind == "discrete":
        # A person who is another leaves one count and joins a second.
        times = 1 if neighbours == Neighbours.ADD_REMOVE else 2
        return Counted(mechanism.noise_multiplier, rows), times * mechanism.steps
    deviation, rate = mechanism.noise_multiplier / rows, mechanism.sample_rate
    if rows > 1 and rate < 1:
        rate = -math.expm1(rows * math.log1p(-rate))
    pair = (
        Sampled(deviation, rate, swapped)
        if neighbours == Neighbours.ADD_REMOVE
        else Replaced(deviation, rate)
    )
    return pair, mechanism.steps
