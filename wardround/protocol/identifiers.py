"""Names for the bytes and strings that identify things; the type checker keeps them apart."""

from __future__ import annotations

from typing import NewType

from eth_utils import is_address, to_checksum_address

from wardround.protocol.errors import Malformed

#: keccak256 of the ABI encoding of a study's parameters, 32 bytes.
StudyId = NewType("StudyId", bytes)
#: RFC 9162 Merkle tree hash (SHA-256), 32 bytes.
Root = NewType("Root", bytes)
#: SHA-256 of a document, 32 bytes.
Digest = NewType("Digest", bytes)
#: EIP-55 checksummed address of a site's signing key.
SiteAddress = NewType("SiteAddress", str)


def site_address(text: object) -> SiteAddress:
    """Read an address in any letter case; return it checksummed.

    Raises:
        Malformed: not 20 bytes of hexadecimal with 0x.
    """
    if not isinstance(text, str) or not text.startswith("0x") or not is_address(text.lower()):
        raise Malformed(f"address {text!r}", "expected 0x and 40 hexadecimal digits")
    return SiteAddress(to_checksum_address(text))


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
