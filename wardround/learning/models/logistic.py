"""Logistic regression: one linear layer on the flattened features."""

from __future__ import annotations

from torch import nn

from wardround.learning.models.base import Classes, ModelSource, Size, outputs


class Logistic(ModelSource):
    """Two classes give one logit, more give one each (multinomial)."""

    features: Size
    classes: Classes = 2

    @property
    def row_shape(self) -> tuple[int, ...]:
        return (self.features,)

    def build(self) -> nn.Module:
        """Linear layer with bias."""
        return nn.Sequential(nn.Flatten(), nn.Linear(self.features, outputs(self.classes)))
