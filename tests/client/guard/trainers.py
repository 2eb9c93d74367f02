"""Trainers for tests: they count, wait, or answer what a study's own code should not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wardround_client.trainer.base import PredictJob, TrainJob, TrainResult
from wardround_client.trainer.local import LocalTrainer

#: What a trainer answers instead of an honest result; it sees the rows, as a study's code does.
Alter = Callable[[TrainJob, TrainResult], TrainResult]
Foretell = Callable[[PredictJob, npt.NDArray[np.float64]], Any]


@dataclass
class Altered:
    """Works honestly, and then answers what a test chose.

    Attributes:
        alter: makes the answer to a training.
        foretell: makes the answer to a question for probabilities.
        trained: jobs so far.
        predicted: jobs so far.
    """

    alter: Alter = lambda job, honest: honest
    foretell: Foretell = lambda job, honest: honest
    trained: list[TrainJob] = field(default_factory=list)
    predicted: list[PredictJob] = field(default_factory=list)
    inner: LocalTrainer = field(default_factory=LocalTrainer)

    def train(self, job: TrainJob) -> TrainResult:
        self.trained.append(job)
        return self.alter(job, self.inner.train(job))

    def predict(self, job: PredictJob) -> npt.NDArray[np.float64]:
        self.predicted.append(job)
        found: npt.NDArray[np.float64] = self.foretell(job, self.inner.predict(job))
        return found

    def close(self) -> None:
        self.inner.close()


@dataclass
class Held(Altered):
    """Answers when it is let."""

    begun: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)

    def train(self, job: TrainJob) -> TrainResult:
        self.begun.set()
        assert self.let.wait(60)
        return super().train(job)
