"""JSON that every reader reads alike: no key twice in an object, and no NaN."""

from __future__ import annotations

import json
from typing import Any


def read_json(data: bytes | str) -> Any:
    """Read JSON of one reading.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deep.
    """
    return json.loads(data, object_pairs_hook=unambiguous, parse_constant=_no_number)


def unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its pairs; readers differ in which of two equal keys they take.

    Raises:
        ValueError: a key is there twice.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is there twice")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")
