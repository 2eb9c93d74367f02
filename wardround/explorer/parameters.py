"""Values of paths and queries, read strictly: a reader's typing never becomes an error 500."""

from __future__ import annotations

import re
from collections.abc import Mapping

from wardround.explorer.errors import QueryInvalid
from wardround.protocol.cid import sha256_of_cid
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import address_of

_HEX32 = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)
#: Blocks, rounds and the like, as JSON keeps them exactly.
NUMBER_MAX = 2**53 - 1
ROUND_MAX = 2**32 - 1


def hex32(text: str, name: str) -> str:
    """Read 32 bytes of hexadecimal in any letter case; return them in lower case.

    Raises:
        QueryInvalid: another length or alphabet.
    """
    if not _HEX32.fullmatch(text.lower()):
        raise QueryInvalid(name, f"expected 0x and 64 hexadecimal digits, not {_short(text)}")
    return text.lower()


def address(text: str, name: str = "address") -> str:
    """Read an address in every form that EIP-55 allows; return it in lower case.

    Raises:
        QueryInvalid: another length or alphabet, or a wrong checksum.
    """
    try:
        # Keeps a message that quotes what was typed short.
        return address_of(text[:80]).lower()
    except Malformed as error:
        raise QueryInvalid(name, str(error).removesuffix(".")) from error


def number(text: str, name: str, low: int = 0, high: int = NUMBER_MAX) -> int:
    """Read a whole number.

    Raises:
        QueryInvalid: not decimal digits, or out of range.
    """
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise QueryInvalid(name, f"expected a number from {low} to {high}, not {_short(text)}")
    return int(text)


def block(text: str) -> str:
    """Read a block's number or hash.

    Raises:
        QueryInvalid: it is neither.
    """
    return hex32(text, "block") if text.startswith("0x") else str(number(text, "block"))


def cid(text: str) -> str:
    """Read a CID.

    Raises:
        QueryInvalid: not the CID of an object as wardround makes them.
    """
    try:
        sha256_of_cid(text)
    except Malformed as error:
        raise QueryInvalid("cid", str(error).removesuffix(".")) from error
    return text


def given(query: Mapping[str, str], name: str) -> str | None:
    """A query's value without blanks around it; None when it is empty or absent."""
    return query.get(name, "").strip() or None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
