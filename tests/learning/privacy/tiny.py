"""A tiny private study, and ``[privacy]`` and ``[training]`` with what a test changes."""

from __future__ import annotations

from typing import Any

from wardround.protocol.study import PrivacySpec, TrainingSpec

STUDY = """
[study]
name = "tiny"
rounds = 12
[model]
name = "logistic"
arguments = { features = 3 }
[training]
learning_rate = 0.1
batch_size = 7
local_epochs = 2
[privacy]
noise_multiplier = 1.5
max_grad_norm = 1.0
delta = 1e-5
"""


def privacy(**changes: Any) -> PrivacySpec:
    return PrivacySpec(**{"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-5} | changes)


def training(**changes: Any) -> TrainingSpec:
    return TrainingSpec(**{"learning_rate": 0.1, "batch_size": 4, "local_steps": 5} | changes)
