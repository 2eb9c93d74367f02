"""The model that a study starts from: it follows from the specification alone."""

from __future__ import annotations

from dataclasses import dataclass

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
    """Build ``M_0`` from the model's name, its arguments and the study's seed.

    Raises:
        LearningError: the model cannot be built.
        OutOfRange: an initial weight does not fit the fixed-point range.
    """
    model = build_model(spec.model.name, spec.model.arguments, spec.study.seed)
    return InitialModel(quantize(flatten(model), spec.aggregation.scale_bits), layout_of(model))
