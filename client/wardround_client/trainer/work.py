"""The work itself: build the study's network, then train it or ask it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from torch import nn

from wardround.learning.datasets.table import Table
from wardround.learning.metrics import predict_classes
from wardround.learning.models import build_model, layout_of
from wardround.learning.privacy.noise import NoiseSecret
from wardround.learning.privacy.terms import PrivateTerms
from wardround.learning.training import train_locally
from wardround.protocol.errors import StudyMismatch, beyond_bound
from wardround.protocol.fixed_point import dequantize, largest_magnitude, quantize_update
from wardround.protocol.study import StudySpec, parse_specification
from wardround_client.trainer.base import PredictJob, TrainJob, TrainResult


def network_of(job: TrainJob | PredictJob) -> nn.Module:
    """Build the network that a job's study asks for.

    Raises:
        LearningError: the study's model cannot be built.
        StudyMismatch: a file of the study's own is not the one that it pins.
    """
    spec = specification_of(job.specification)
    return build_model(spec.model, job.files, spec.study.seed)


def train(model: nn.Module, job: TrainJob) -> TrainResult:
    """Train on the job's rows.

    Args:
        model: of `network_of`; its parameters are replaced.
    Raises:
        StudyMismatch: the study asks for private training, and the job has no terms of it.
        OutOfRange: training left the fixed-point range or the study's bound.
        LearningError: the rows or the model cannot be trained on.
    """
    spec = specification_of(job.specification)
    bits = spec.aggregation.scale_bits
    result = train_locally(
        model,
        dequantize(job.base, bits),
        Table(job.features, job.labels),
        spec.training,
        seed=job.seed,
        private=_terms(spec, job),
    )
    update = quantize_update(result.weights, job.base, bits)
    if largest_magnitude(update) > spec.update_limit:
        at = int(np.abs(update).argmax())
        moved, bound = abs(int(update[at])) / 2**bits, spec.aggregation.update_bound
        raise beyond_bound(layout_of(model).name_of(at), at, moved, bound)
    return TrainResult(update, result.mean_loss)


def predict(model: nn.Module, job: PredictJob) -> npt.NDArray[np.float64]:
    """Compute probabilities for the job's rows; float64, shape (n, classes).

    Args:
        model: of `network_of`; its parameters are replaced.
    Raises:
        LearningError: the model cannot take such rows, or its output is not finite.
    """
    spec = specification_of(job.specification)
    weights = dequantize(job.model, spec.aggregation.scale_bits)
    return predict_classes(model, weights, job.features, threads=spec.training.threads)


@lru_cache(maxsize=64)
def specification_of(data: bytes) -> StudySpec:
    """Read a study's specification.

    Raises:
        Malformed: it is none.
    """
    return parse_specification(data)


def _terms(spec: StudySpec, job: TrainJob) -> PrivateTerms | None:
    if spec.privacy is None:
        return None
    if job.private is None:
        # Never train without the noise that the study promises.
        raise StudyMismatch("private training", "asked for", "not set up at this site")
    given = job.private
    if (given.persons is not None) != (spec.privacy.unit == "patient"):
        raise StudyMismatch("unit of privacy", spec.privacy.unit, "another one at this site")
    secret = NoiseSecret(given.secret)
    return PrivateTerms(spec.privacy, secret, given.context, given.account, given.persons)
