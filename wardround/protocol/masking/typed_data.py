"""Hashes of the typed data that masking signs.

Source:
    EIP-712, hashStruct and encodeData.
"""

from __future__ import annotations

from eth_utils import keccak

from wardround.protocol.contribution import Domain

#: A word of 32 bytes, an unsigned integer or an address as text; a tuple is an array of them.
Word = bytes | int | str
Value = Word | tuple[Word, ...]


def struct_hash(type_text: str, *values: Value) -> bytes:
    """Hash a struct: its type, then each member as one word; 32 bytes."""
    return keccak(keccak(text=type_text) + b"".join(map(_encoded, values)))


def typed_digest(domain: Domain, struct: bytes) -> bytes:
    """What a key signs for a struct on one chain and contract, 32 bytes."""
    return keccak(b"\x19\x01" + domain.separator + struct)


def _encoded(value: Value) -> bytes:
    if isinstance(value, tuple):
        return keccak(b"".join(map(_encoded, value)))
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    if isinstance(value, str):
        return bytes.fromhex(value[2:]).rjust(32, b"\0")
    assert len(value) == 32
    return value
