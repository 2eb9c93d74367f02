"""Studies small enough to train in a moment, as jobs."""

from __future__ import annotations

import numpy as np

from tests.learning.networks import own_model
from wardround.learning.models import build_model, flatten
from wardround.learning.privacy.accountant import PrivacyAccount
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.fixed_point import Int32Vector, quantize
from wardround.protocol.study import StudySpec, load_study
from wardround_client.trainer.base import NoiseTerms, PredictJob, TrainJob

STUDY = """[study]
name = "small"
rounds = 3
[model]
name = "mlp"
[model.arguments]
features = 5
hidden = [8]
[training]
learning_rate = 0.1
batch_size = 8
local_epochs = 2
"""
PRIVACY = """[privacy]
noise_multiplier = 1.0
max_grad_norm = 1.0
delta = 1e-5
"""
ROWS = 30
#: Of `own_job`'s network where a study's code builds a linear one.
OWN_PARAMETERS = 6


def specification(text: str = STUDY) -> bytes:
    return canonical_bytes(load_study(text, "study.toml").document())


def base_model(text: str = STUDY) -> Int32Vector:
    spec: StudySpec = load_study(text, "study.toml")
    weights = flatten(build_model(spec.model, spec.files, spec.study.seed))
    return quantize(weights, spec.aggregation.scale_bits)


def rows() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    features = random.standard_normal((ROWS, 5), dtype=np.float32)
    return features, random.integers(0, 2, ROWS)


def train_job(text: str = STUDY, seed: int = 1) -> TrainJob:
    features, labels = rows()
    return TrainJob(specification(text), base_model(text), features, labels, seed)


def private_job(seed: int = 1, unit: str = "row") -> TrainJob:
    """A job on the rows of ten patients, where a patient is the unit."""
    text = STUDY + PRIVACY + f'unit = "{unit}"\n'
    features, labels = rows()
    persons = np.arange(ROWS) % 10 if unit == "patient" else None
    terms = NoiseTerms(bytes(range(32)), PrivacyAccount(), b"study and round", persons)
    return TrainJob(specification(text), base_model(text), features, labels, seed, private=terms)


def predict_job(text: str = STUDY) -> PredictJob:
    return PredictJob(specification(text), base_model(text), rows()[0], classes=2)


def own_job(source: str | dict[str, bytes], **arguments: int | str) -> TrainJob:
    """A study that brings code of its own: `model.py: build`."""
    model, files = own_model(source, row_shape=[5], arguments=arguments)
    spec = load_study(STUDY, "study.toml").model_copy(update={"model": model})
    features, labels = rows()
    base = np.zeros(OWN_PARAMETERS, np.int32)
    return TrainJob(canonical_bytes(spec.document()), base, features, labels, 1, files)
