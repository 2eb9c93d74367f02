"""Whose a row is: one digest a person, the same however the table writes the person's number.

A digest is no secret: it is easily found again from a short number. It never leaves the site.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid
from collections.abc import Iterable
from decimal import Decimal
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
#: Figures in threes, each parted by the same mark, and a fraction after another one.
_IN_THREES = re.compile(
    r"(?P<whole>[+-]?[0-9]{1,3}(?P<mark>[.,' \u2019])[0-9]{3}(?:(?P=mark)[0-9]{3})*)"
    r"(?:(?!(?P=mark))[.,](?P<fraction>[0-9]*))?"
)


def person_of(value: object) -> bytes:
    """Digest the value of a person's column.

    ``17``, ``"17"``, ``17.0`` and ``"0017"`` are one person: a file gives text where a database
    gives numbers, and programs add points and zeros. So are texts that differ in capitals, widths
    or spaces, a date and its midnight, and all forms of a UUID. A number is the same with a point
    or a comma, and with its figures in threes, whatever mark the table declares. Two people whose
    numbers differ in nothing else are taken for one, which makes a site more careful, never less.

    Args:
        value: text, a number, yes or no, a date, or a UUID; no missing value.
    Returns:
        SHA-256 of the value's one spelling, in UTF-8.
    """
    text = plain_text(value)
    number = _number(_plain(text)) if isinstance(value, str) else number_of(value)
    if number is None:
        text = _one_text(text)
        number = number_of(text)  # a UUID of digits alone
    if number is not None:
        text = one_spelling(_in_thousands(number))
    return hashlib.sha256(text.encode()).digest()


def _number(text: str) -> Decimal | None:
    """Read a number whichever of point and comma is its decimal mark."""
    if found := _IN_THREES.fullmatch(text):
        whole, mark, fraction = found["whole"], found["mark"], found["fraction"]
        if mark not in ".," or fraction is not None or whole.count(mark) > 1:
            text = f"{whole.replace(mark, '')}.{fraction or ''}"
    return number_of(text.replace(",", "."))


def _in_thousands(number: Decimal) -> Decimal:
    """Give ``1234`` for ``1.234``, which many programs write for it.

    ``12.000`` stays 12, as a database writes it that keeps three decimals.
    """
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # finite
    if not 0 <= number.adjusted() < 3 or number == number.to_integral_value():
        return number
    thousands = Decimal((sign, digits, exponent + 3))  # `scaleb` would round
    return thousands if thousands == thousands.to_integral_value() else number


def _plain(text: str) -> str:
    """Spell a text in one width and case, without what Excel puts round it."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if quoted := _AS_EXCEL_KEEPS_TEXT.fullmatch(text.strip()):
        text = quoted[1]
    return " ".join(text.split())


def _one_text(text: str) -> str:
    """Spell a text as all programs that write it otherwise are understood."""
    text = _plain(text)
    if midnight := _MIDNIGHT.fullmatch(text):
        return midnight[1]
    try:
        return uuid.UUID(text).hex
    except ValueError:
        return text


def digests_of(values: Iterable[object]) -> Digests:
    """Digest the values of a person's column.

    Args:
        values: as for `person_of`.
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
