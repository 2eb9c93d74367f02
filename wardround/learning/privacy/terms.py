"""Under which terms a site trains privately, and what it then has spent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wardround.learning.datasets.table import Table
from wardround.learning.errors import LearningError
from wardround.learning.models.flat import layout_of
from wardround.learning.privacy.accountant import (
    Mechanism,
    Neighbours,
    PrivacyAccount,
    mechanism_of,
)
from wardround.learning.privacy.noise import NoiseSecret, SecretStream
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.fixed_point import Float32Vector
from wardround.protocol.study import PrivacySpec, TrainingSpec

Persons = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PrivacySpent:
    """What a training costs those whose rows it used.

    Attributes:
        epsilon: of the whole account, this training included, for tables with one row more or less.
        epsilon_replaced: the same for tables in which one row is another, the greater figure.
        delta: chance with which that bound may fail.
        mechanism: what this training alone did.
        account: the account after it.
    """

    epsilon: float
    epsilon_replaced: float
    delta: float
    mechanism: Mechanism
    account: PrivacyAccount


@dataclass(frozen=True, eq=False)
class PrivateTerms:
    """What private training needs beside the study's file.

    Attributes:
        privacy: noise, clipping, delta and limit.
        secret: of this site, which draws it; the same in two runs only where a simulation must
            repeat.
        context: what else decides the result, so that no two computations share their noise:
            study, round and code digest.
        account: spent in this study before.
        persons: whose each row is, for a study that counts a patient as one: int64, shape (n,),
            numbers from 0 on. None: each row is a unit of its own.
    """

    privacy: PrivacySpec
    secret: NoiseSecret
    context: bytes
    account: PrivacyAccount = field(default_factory=PrivacyAccount)
    persons: Persons | None = field(default=None, repr=False)

    def units(self, rows: int) -> Persons:
        """Which unit each of the rows belongs to; int64, shape (rows,)."""
        return np.arange(rows) if self.persons is None else self.persons

    def spend(self, training: TrainingSpec, rows: int) -> PrivacySpent:
        """Compute what a training will cost, before it starts.

        Args:
            training: batch size and length.
            rows: at least 1.
        Raises:
            LearningError: not below 1 / units; the study's epsilon would be exceeded; other rows
                than whose persons are known.
        """
        delta, persons = self.privacy.delta, self.units(rows)
        if len(persons) != rows:
            raise LearningError(
                f"it is known whose {len(persons)} rows are, and there are {rows}: "
                "name the person of each row."
            )
        units = int(persons.max()) + 1
        if delta * units >= 1:
            raise LearningError(
                f"delta {delta:g} is not below 1 / {units}, one over this site's "
                f"{self.privacy.unit}s: take part only in studies with a smaller delta."
            )
        mechanism = mechanism_of(training, self.privacy, units)
        account = self.account.after(mechanism)
        replaced = account.epsilon(delta)
        target = self.privacy.target_epsilon
        if target is not None and replaced > target:
            raise LearningError(
                f"this round would bring the study to epsilon {replaced:.3f} at delta {delta:g}, "
                f"more than the {target:g} it allows: this site trains no further in it."
            )
        epsilon = account.epsilon(delta, Neighbours.ADD_REMOVE)
        return PrivacySpent(epsilon, replaced, delta, mechanism, account)

    def stream(
        self,
        model: nn.Module,
        weights: Float32Vector,
        table: Table,
        training: TrainingSpec,
        seed: int,
    ) -> SecretStream:
        """Open the stream of random numbers of exactly this training.

        Trained twice on equal inputs, a site gives the same update and tells nothing new. Change
        one row, the base model or anything else, and all noise is another.
        """
        # A seed has 63 bits, and a JSON number 53: as text.
        settings = [
            training.model_dump(mode="json"),
            # Of a unit, what it decides: whose each row is.
            self.privacy.model_dump(mode="json", exclude={"unit"}),
            str(seed),
        ]
        layout = layout_of(model)
        shapes = [list(layout.names), [list(shape) for shape in layout.shapes]]
        return self.secret.stream(
            [
                self.context,
                canonical_bytes([settings, shapes, type(model).__name__, torch.__version__]),
                canonical_bytes(list(table.features.shape)),
                weights.tobytes(),
                table.features.tobytes(),
                table.labels.tobytes(),
                self.units(len(table)).tobytes(),
            ]
        )
