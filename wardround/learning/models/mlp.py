"""Multi-layer perceptron with ReLU."""

from __future__ import annotations

from torch import nn

from wardround.learning.models.base import Classes, ModelSource, Size, outputs


class Mlp(ModelSource):
    """Fully connected layers of the given hidden sizes."""

    features: Size
    hidden: list[Size]
    classes: Classes = 2

    @property
    def row_shape(self) -> tuple[int, ...]:
        return (self.features,)

    def build(self) -> nn.Module:
        """Linear and ReLU by turns, ending in a linear layer."""
        layers: list[nn.Module] = [nn.Flatten()]
        width = self.features
        for size in self.hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        return nn.Sequential(*layers, nn.Linear(width, outputs(self.classes)))
