"""The model that a study starts from: it follows from the specification alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from wardround.learning.models import build_model, flatten, layout_of
from wardround.protocol.fixed_point import Int32Vector, quantize
from wardround.protocol.layout import Layout
from wardround.protocol.study import StudySpec


@dataclass(frozen=True, eq=False)
class InitialModel:
    """``M_0`` in fixed point, int32 of shape (P,), and how it maps to named parameters."""

    values: Int32Vector
    layout: Layout


def initial_model(spec: StudySpec) -> InitialModel:
    """Build ``M_0`` from the model, its arguments and the study's seed; runs a study's own code.

    Raises:
        StudyMismatch: the study's own files are not there, or not the pinned ones.
        LearningError: the model cannot be built.
        OutOfRange: an initial weight does not fit the fixed-point range.
    """
    model = build_model(spec.model, spec.files, spec.study.seed)
    return initial_of(model, spec.aggregation.scale_bits)


def initial_of(model: nn.Module, scale_bits: int) -> InitialModel:
    """Take ``M_0`` from a network that was just built.

    Raises:
        OutOfRange: an initial weight does not fit the fixed-point range.
    """
    return InitialModel(quantize(flatten(model), scale_bits), layout_of(model))
