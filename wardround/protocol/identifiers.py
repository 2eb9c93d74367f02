"""Names for the bytes and strings that identify things; the type checker keeps them apart."""

from __future__ import annotations

import re
from typing import NewType

from eth_utils import to_checksum_address

from wardround.protocol.errors import Malformed

#: keccak256 of the ABI encoding of a study's parameters, 32 bytes.
StudyId = NewType("StudyId", bytes)
#: RFC 9162 Merkle tree hash (SHA-256), 32 bytes.
Root = NewType("Root", bytes)
#: SHA-256 of a document, 32 bytes.
Digest = NewType("Digest", bytes)
#: EIP-55 checksummed address of a site's signing key.
SiteAddress = NewType("SiteAddress", str)

_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")


def address_of(text: object) -> SiteAddress:
    """Read an address in every form that EIP-55 allows; return it with its checksum.

    Args:
        text: ``0x`` and 40 digits, all lower case, all upper case, or with the checksum's mix.
    Raises:
        Malformed: another length or alphabet, or a mix of cases that is not the checksum's.
    Source:
        EIP-55.
    """
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
        raise Malformed(f"address {text!r}", "expected 0x and 40 hexadecimal digits")
    address = SiteAddress(to_checksum_address(text))
    if text != address and text[2:] not in (text[2:].lower(), text[2:].upper()):
        reason = "its checksum is wrong, so a digit was mistyped: copy it again"
        raise Malformed(f"address {text}", reason)
    return address


def hex_of(value: bytes) -> str:
    """Write bytes as lower-case hexadecimal with 0x, the one form used in documents."""
    return "0x" + bytes(value).hex()


def bytes32(text: object, what: str) -> bytes:
    """Read exactly 32 bytes of lower-case hexadecimal with 0x.

    Raises:
        Malformed: another length, letter case or alphabet.
    """
    if (
        not isinstance(text, str)
        or len(text) != 66
        or not text.startswith("0x")
        or not set(text[2:]) <= set("0123456789abcdef")
    ):
        raise Malformed(what, "expected 0x and 64 lower-case hexadecimal digits")
    return bytes.fromhex(text[2:])
