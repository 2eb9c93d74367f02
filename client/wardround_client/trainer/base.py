"""What the guard asks a trainer for, and what it gets back.

A trainer sees rows. It is given the one thing to compute, and returns an update and one number, or
probabilities: no name, no text and no file of its own. Who runs it decides what else it can do:
`trainer.local` runs it in this process, `trainer.sandboxed` in a sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wardround.learning.privacy.accountant import PrivacyAccount
from wardround.protocol.fixed_point import Int32Vector


@dataclass(frozen=True, eq=False)
class NoiseTerms:
    """What private training needs beside the study's specification.

    Attributes:
        secret: of this site and round, 32 bytes.
        account: spent in this study before.
        context: what else decides the result, so that no two computations share their noise.
        persons: whose each row is, where the study counts a patient as one: int64, shape (n,),
            numbers from 0 on, which tell nothing of who a person is. Else None.
    """

    secret: bytes = field(repr=False)
    account: PrivacyAccount
    context: bytes
    persons: npt.NDArray[np.int64] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class TrainJob:
    """Train on these rows.

    Attributes:
        specification: of the study, in RFC 8785 form.
        files: the study's own model code, content by name; empty for a named model.
        base: the model to train from, int32, shape (P,).
        features: float32, shape (n, ...), n >= 1.
        labels: int64, shape (n,).
        seed: of the order of rows and of random layers, in 0 .. 2**63 - 1.
        private: terms of differential privacy; None trains without.
    """

    specification: bytes
    base: Int32Vector
    # Hidden from logs and tracebacks.
    features: npt.NDArray[np.float32] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    seed: int = field(repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict)
    private: NoiseTerms | None = None


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What came of it.

    Attributes:
        update: int32, shape (P,), in the study's fixed point.
        mean_loss: of the rows as they were seen, in nats, at least 0; None of private training.
    """

    update: Int32Vector
    mean_loss: float | None


@dataclass(frozen=True, eq=False)
class PredictJob:
    """Predict for these rows, whose labels the guard keeps.

    Attributes:
        specification: of the study, in RFC 8785 form.
        files: the study's own model code, content by name; empty for a named model.
        model: int32, shape (P,).
        features: float32, shape (n, ...), n >= 1.
        classes: that the study's model tells apart.
    """

    specification: bytes
    model: Int32Vector
    features: npt.NDArray[np.float32] = field(repr=False)
    classes: int
    files: Mapping[str, bytes] = field(default_factory=dict)


class Trainer(Protocol):
    """Runs jobs: `trainer.local.LocalTrainer` or `trainer.sandboxed.SandboxedTrainer`."""

    def train(self, job: TrainJob) -> TrainResult:
        """Train a model on a site's rows.

        Raises:
            Refusal: ``trainer-failed``: the study's training ends in an error, or too late, or
                with the process that runs it.
            RefusedForNow: ``trainer-gone``: there is no trainer, so no code has seen a row.
        """

    def predict(self, job: PredictJob) -> npt.NDArray[np.float64]:
        """Compute each row's probability of each class.

        Returns:
            float64, shape (n, classes), in [0, 1]; each row's sum is 1 within 1e-6.

        Raises:
            Refusal: ``trainer-failed``: the model cannot be measured, or not in time.
            RefusedForNow: ``trainer-gone``, as of `train`.
        """

    def close(self) -> None:
        """End its processes."""
