"""How the flat vector maps to a model's named parameters."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from wardround.protocol.errors import Malformed


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

    def document(self) -> list[dict[str, Any]]:
        """The JSON value kept in the layout file."""
        return [
            {"name": name, "shape": list(shape)}
            for name, shape in zip(self.names, self.shapes, strict=True)
        ]

    @classmethod
    def from_document(cls, value: object) -> Layout:
        """Read the layout file's JSON value.

        Raises:
            Malformed: not a list of names and shapes.
        """
        try:
            rows = [(str(row["name"]), tuple(int(n) for n in row["shape"])) for row in value]  # type: ignore[attr-defined]
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise Malformed("layout", f"expected a list of name and shape: {error}") from error
        if any(size < 1 for _, shape in rows for size in shape):
            raise Malformed("layout", "a dimension is below one")
        return cls(tuple(name for name, _ in rows), tuple(shape for _, shape in rows))
