"""Whose a row is: one digest a person, the same however the table writes the person's number.

A digest is no secret: it is easily found again from a short number. It never leaves the site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.exact import number_of, one_spelling, plain_text

DIGEST_BYTES = 32
#: One digest a row.
Digests = npt.NDArray[np.uint8]


def person_of(value: object) -> bytes:
    """Digest the value of a person's column.

    ``17``, ``"17"``, ``17.0`` and ``"0017"`` are one person: a file gives text where a database
    gives numbers, and programs add points and zeros. Two people whose numbers differ in nothing
    else are taken for one, which makes a site more careful, never less.

    Args:
        value: text, a number, yes or no, a date, or a UUID; no missing value.
    Returns:
        SHA-256 of the value's one spelling, in UTF-8.
    """
    number = number_of(value)
    text = plain_text(value) if number is None else one_spelling(number)
    return hashlib.sha256(text.encode()).digest()


def digests_of(values: Iterable[object]) -> Digests:
    """Digest the values of a person's column.

    Returns:
        uint8, shape (n, 32).
    """
    known: dict[Any, bytes] = {}
    found = []
    for value in values:
        key = (type(value), value)
        if key not in known:
            known[key] = person_of(value)
        found.append(known[key])
    return np.frombuffer(b"".join(found), np.uint8).reshape(len(found), DIGEST_BYTES)
