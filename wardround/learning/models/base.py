"""What a model that comes with wardround is: arguments, and how to build the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

Size = Annotated[int, Field(ge=1)]
Classes = Annotated[int, Field(ge=2)]


class ModelSource(BaseModel, ABC):
    """A network's blueprint; its fields are the arguments that a study may give."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @property
    @abstractmethod
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row's features, as the network takes them."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Make the network, its parameters drawn from torch's global generator."""


def outputs(classes: int) -> int:
    """Count the logits for so many classes: two need only one, that of class 1."""
    return 1 if classes == 2 else classes
