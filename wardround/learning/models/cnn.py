"""Small convolutional network for square images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from wardround.learning.models.base import Classes, ModelSource, Size, outputs


class Cnn(ModelSource):
    """Two convolutions with pooling, one linear layer; no batch norm (see `LearningError`)."""

    channels: Size = 1
    side: Annotated[int, Field(ge=4)]
    classes: Classes

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The pixels of every channel."""
        return self.channels, self.side, self.side

    def build(self) -> nn.Module:
        """Features have shape (n, channels, side, side)."""
        pooled = self.side // 2 // 2
        return nn.Sequential(
            nn.Conv2d(self.channels, 8, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * pooled * pooled, outputs(self.classes)),
        )
