"""A trainer in the guard's own process: for simulations, whose rows are no secret."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import nn

from wardround.protocol.errors import WardroundError
from wardround_client.errors import Refusal
from wardround_client.trainer.base import PredictJob, TrainJob, TrainResult
from wardround_client.trainer.work import network_of, predict, train

#: PyTorch's generator and number of threads are the whole process's: one training at a time.
_turn = threading.Lock()


@dataclass
class LocalTrainer:
    """Runs jobs one at a time, where it is called."""

    _models: dict[bytes, nn.Module] = field(default_factory=dict, repr=False)

    def train(self, job: TrainJob) -> TrainResult:
        """See `Trainer.train`."""
        try:
            with _turn:
                return train(self._model(job), job)
        except WardroundError as error:
            raise _failed(error) from error

    def predict(self, job: PredictJob) -> npt.NDArray[np.float64]:
        """See `Trainer.predict`."""
        try:
            with _turn:
                return predict(self._model(job), job)
        except WardroundError as error:
            raise _failed(error) from error

    def close(self) -> None:
        """Forget the networks."""
        self._models.clear()

    def _model(self, job: TrainJob | PredictJob) -> nn.Module:
        # Each job loads its own weights into it, so one serves for every round.
        if job.specification not in self._models:
            self._models[job.specification] = network_of(job)
        return self._models[job.specification]


def _failed(error: WardroundError) -> Refusal:
    return Refusal("trainer-failed", f"{type(error).__name__}: {error}")
