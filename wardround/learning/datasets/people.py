"""Whose a row is: one digest a person, the same however the table writes the person's number.

A digest is no secret: it is easily found again from a short number. It never leaves the site.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.exact import number_of, one_spelling, plain_text

DIGEST_BYTES = 32
#: One digest a row.
Digests = npt.NDArray[np.uint8]
#: Excel exports a number that is to stay text as a formula.
_AS_EXCEL_KEEPS_TEXT = re.compile('="(.*)"')
#: A date from a database that has times.
_MIDNIGHT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ t]00:00(?::00(?:[.]0+)?)?(?:z|[+]00:00)?")


def person_of(value: object, mark: str = ".") -> bytes:
    """Digest the value of a person's column.

    ``17``, ``"17"``, ``17.0`` and ``"0017"`` are one person: a file gives text where a database
    gives numbers, and programs add points and zeros. So are texts that differ in capitals, widths
    or spaces, a date and its midnight, and all forms of a UUID. Two people whose numbers differ in
    nothing else are taken for one, which makes a site more careful, never less.

    Args:
        value: text, a number, yes or no, a date, or a UUID; no missing value.
        mark: the decimal mark of text, a point or a comma.
    Returns:
        SHA-256 of the value's one spelling, in UTF-8.
    """
    number = number_of(value, mark)
    text = _one_text(plain_text(value)) if number is None else one_spelling(number)
    # Digits in full width, or in a formula of Excel's.
    if number is None and (found := number_of(text, mark)) is not None:
        text = one_spelling(found)
    return hashlib.sha256(text.encode()).digest()


def _one_text(text: str) -> str:
    """Spell a text as all programs that write it otherwise are understood."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if quoted := _AS_EXCEL_KEEPS_TEXT.fullmatch(text.strip()):
        text = quoted[1]
    text = " ".join(text.split())
    if midnight := _MIDNIGHT.fullmatch(text):
        return midnight[1]
    try:
        return uuid.UUID(text).hex
    except ValueError:
        return text


def digests_of(values: Iterable[object], mark: str = ".") -> Digests:
    """Digest the values of a person's column.

    Args:
        values: as for `person_of`.
        mark: the decimal mark of text.
    Returns:
        uint8, shape (n, 32).
    """
    known: dict[Any, bytes] = {}
    found = []
    for value in values:
        key = (type(value), value)
        if key not in known:
            known[key] = person_of(value, mark)
        found.append(known[key])
    return np.frombuffer(b"".join(found), np.uint8).reshape(len(found), DIGEST_BYTES)
