"""How the flat vector maps to a model's named parameters."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any


@dataclass(frozen=True)
class Layout:
    """Parameter names and shapes in vector order."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def parameter_count(self) -> int:
        """P: how many coordinates the vector has."""
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Coordinates of each parameter."""
        return tuple(prod(shape) for shape in self.shapes)

    def name_of(self, index: int) -> str:
        """Name the parameter of a coordinate, 0 .. P - 1."""
        return self.names[bisect_right(list(accumulate(self.sizes)), index)]

    def document(self) -> list[dict[str, Any]]:
        """The JSON value kept in the layout file."""
        return [
            {"name": name, "shape": list(shape)}
            for name, shape in zip(self.names, self.shapes, strict=True)
        ]
