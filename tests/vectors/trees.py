"""RFC 9162's tree hash and audit paths, as they are written there."""

from __future__ import annotations

from hashlib import sha256


def _cut(count: int) -> int:
    part = 1
    while 2 * part < count:
        part *= 2
    return part


def tree(leaves: list[bytes]) -> bytes:
    """Section 2.1.1."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    part = _cut(len(leaves))
    return sha256(b"\x01" + tree(leaves[:part]) + tree(leaves[part:])).digest()


def path(leaves: list[bytes], index: int) -> list[bytes]:
    """Section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    part = _cut(len(leaves))
    if index < part:
        return [*path(leaves[:part], index), tree(leaves[part:])]
    return [*path(leaves[part:], index - part), tree(leaves[:part])]
