"""Merkle tree hashes of RFC 9162, over vectors and lists of entries.

SHA-256, because it is a precompile on chain and the default of IPFS; a 0x00 byte before a leaf
and 0x01 before an inner node, so that neither can be passed off as the other.

Source:
    RFC 9162 section 2.1 (tree hash) and 2.1.3 (inclusion proofs).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import Root

#: Bytes of a vector under one leaf: 256 coordinates of int32, 128 of int64.
CHUNK_BYTES = 1024

_LEAF = sha256(b"\x00")


def leaf_hash(data: bytes) -> bytes:
    """Hash one leaf: ``SHA-256(0x00 || data)``, 32 bytes."""
    return sha256(b"\x00" + data).digest()


def entries_root(entries: Iterable[bytes]) -> Root:
    """Merkle tree hash of a list of entries; of an empty list, the hash of nothing."""
    return _root([leaf_hash(entry) for entry in entries])


def vector_leaves(data: bytes | memoryview) -> list[bytes]:
    """Leaf hashes of a vector's consecutive 1024-byte chunks; the last may be short."""
    view = memoryview(data).cast("B")
    leaves = []
    for start in range(0, view.nbytes, CHUNK_BYTES):
        # A copied state costs less than copying each chunk behind its prefix.
        leaf = _LEAF.copy()
        leaf.update(view[start : start + CHUNK_BYTES])
        leaves.append(leaf.digest())
    return leaves


def vector_root(data: bytes | memoryview) -> Root:
    """Commit to a vector: the tree hash over its 1024-byte chunks.

    Args:
        data: the vector's bytes, little-endian.
    Returns:
        The root, 32 bytes.
    """
    return _root(vector_leaves(data))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Collect the audit path of one leaf.

    Args:
        leaves: leaf hashes, 32 bytes each, in order, at least one.
        index: which leaf, 0 .. len(leaves) - 1.
    Returns:
        Sibling hashes from the leaf upwards, at most ``ceil(log2(len(leaves)))``.
    Raises:
        Malformed: no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise Malformed(f"leaf {index}", f"the tree has {len(leaves)} leaves")
    path = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _level_above(level)
        index //= 2
    return path


def range_proof(leaves: Sequence[bytes], first: int, count: int) -> list[bytes]:
    """Collect what leads from consecutive leaves to the root.

    Args:
        leaves: leaf hashes, 32 bytes each, in order.
        first: the first of them.
        count: how many, at least one.
    Returns:
        Level by level from the leaves upwards: the sibling to the left of them, then the one to the
        right, where they have one; at most two a level.
    Raises:
        Malformed: no such leaves.
    """
    if first < 0 or count < 1 or first + count > len(leaves):
        raise Malformed(f"{count} leaves from {first}", f"the tree has {len(leaves)} leaves")
    path, level, last = [], list(leaves), first + count - 1
    while len(level) > 1:
        if first % 2:
            path.append(level[first - 1])
        if last % 2 == 0 and last + 1 < len(level):
            path.append(level[last + 1])
        level = _level_above(level)
        first, last = first // 2, last // 2
    return path


def is_included(root: bytes, leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bool:
    """Whether a path leads from a leaf to the root of its tree.

    Args:
        root: of the tree, 32 bytes.
        leaf: its hash; see `leaf_hash`.
        index: where the leaf is, from 0.
        size: leaves of the tree.
        path: siblings from the leaf upwards, 32 bytes each.
    Source:
        RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size or any(len(sibling) != 32 for sibling in path):
        return False
    place, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = sha256(b"\x01" + sibling + found).digest()
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = sha256(b"\x01" + found + sibling).digest()
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def _root(leaves: list[bytes]) -> Root:
    if not leaves:
        return Root(sha256(b"").digest())
    level = leaves
    while len(level) > 1:
        level = _level_above(level)
    return Root(level[0])


def _level_above(level: list[bytes]) -> list[bytes]:
    # Pairing from the left and lifting a lone last node gives the RFC's tree, whose left part is
    # the largest power of two below the size, without recursion.
    nodes, join = iter(level), b"".join
    above = [
        sha256(join((b"\x01", left, right))).digest()
        for left, right in zip(nodes, nodes, strict=False)
    ]
    if len(level) % 2:
        above.append(level[-1])
    return above
