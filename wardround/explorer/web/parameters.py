"""What addresses of pages may hold, read strictly: a reader's typing never becomes a fault of ours.

PageError
├── NotThere      404: well formed, but nothing is known of it
├── Sealed        403: encrypted, and there is no key to it here
└── NotUnderstood 400: not such a thing at all
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from wardround.protocol.cid import sha256_of_cid
from wardround.protocol.errors import ProtocolError, WardroundError

_HEX32 = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-f]{40}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
SEARCH_MAX = 200


class PageError(WardroundError):
    """A page that cannot be shown, with what to tell its reader."""

    status = 500
    title = "Not shown"

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__(words)


class NotThere(PageError):
    """Well formed, but nothing is known of it."""

    status = 404
    title = "Not found"


class Sealed(PageError):
    """Encrypted, and there is no key to it here."""

    status = 403
    title = "Encrypted"


class NotUnderstood(PageError):
    """Not such a thing at all."""

    status = 400
    title = "Not understood"


def hex32(text: str, what: str) -> str:
    """Read 32 bytes of hexadecimal in any letter case; return them lower-case.

    Raises:
        NotUnderstood: another length or alphabet.
    """
    if not _HEX32.fullmatch(text.lower()):
        raise NotUnderstood(f"{what}: expected 0x and 64 hexadecimal digits, not {_short(text)}")
    return text.lower()


def address(text: str, what: str = "address") -> str:
    """Read an address in any letter case; return it lower-case.

    Raises:
        NotUnderstood: another length or alphabet.
    """
    if not _ADDRESS.fullmatch(text.lower()):
        raise NotUnderstood(f"{what}: expected 0x and 40 hexadecimal digits, not {_short(text)}")
    return text.lower()


def number(text: str, what: str, low: int = 0, high: int = 10**15 - 1) -> int:
    """Read a whole number.

    Raises:
        NotUnderstood: not decimal digits, or out of range.
    """
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise NotUnderstood(f"{what}: expected a number from {low} to {high}, not {_short(text)}")
    return int(text)


def cid(text: str) -> str:
    """Read a CID.

    Raises:
        NotUnderstood: not the CID of an object as wardround makes them.
    """
    try:
        sha256_of_cid(text)
    except ProtocolError as error:
        raise NotUnderstood(str(error)) from error
    return text


def given(query: Mapping[str, str], name: str) -> str | None:
    """A query's value, without blanks around it; None when it is empty."""
    return query.get(name, "").strip() or None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
