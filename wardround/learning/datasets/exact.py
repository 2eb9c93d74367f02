"""A cell's exact value: a decimal number or a text, never a binary fraction.

Comparing floats takes 2**53 + 1 for 2**53, and comparing spellings takes -9.0 for other than -9.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation

import numpy as np

#: Not Python's rules, which take "1_000", "infinity" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
#: A longer text is compared as text; numbers of tables are shorter.
NUMBER_MAX_CHARACTERS = 400
_FRACTIONS = (float, np.floating)
_WHOLE = (int, np.integer)


def number_of(cell: object, mark: str = ".") -> Decimal | None:
    """Tell which number a cell is.

    Args:
        cell: of a table, or declared in settings.
        mark: the decimal mark of text, a point or a comma. The other one is part of no number:
            it would part thousands, which is ambiguous.
    Returns:
        The number that is written; a float's shortest spelling. None for what is no finite number.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if mark == ",":
            if "." in text:
                return None
            text = text.replace(",", ".")
        if len(text) > NUMBER_MAX_CHARACTERS or not _NUMBER.fullmatch(text):
            return None
    elif isinstance(cell, _FRACTIONS):
        text = str(cell)
    elif isinstance(cell, Decimal):
        return cell if cell.is_finite() else None
    elif isinstance(cell, _WHOLE) and not isinstance(cell, bool):
        return Decimal(int(cell))
    else:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return None
    return number if number.is_finite() else None


def plain_text(cell: object) -> str:
    """Spell a cell as a file would: ``true``, ``3``, ``2024-05-01``, without outer spaces.

    Letters with accents have one form (Unicode's NFC), which programs write in two.
    """
    if isinstance(cell, bool | np.bool_):
        return "true" if cell else "false"
    return unicodedata.normalize("NFC", str(cell).strip())


def one_spelling(number: Decimal) -> str:
    """Spell a finite number in the one way that all equal numbers share: ``17``, ``-25E-1``.

    `Decimal.normalize` would round to the digits of its context.
    """
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # finite
    written = "".join(map(str, digits))
    figures = written.rstrip("0")
    if not figures:
        return "0"
    power = exponent + len(written) - len(figures)
    return f"{'-' if sign else ''}{figures.lstrip('0')}{f'E{power}' if power else ''}"
