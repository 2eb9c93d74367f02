"""Content identifiers: the CIDs that an IPFS node gives the same bytes.

``ipfs add --cid-version=1 --chunker=size-1048576 --raw-leaves`` cuts content into chunks of 1 MiB.
Content of one chunk is a raw block and its CID holds the plain SHA-256 of the bytes, so the
digest of a small object gives its CID. Longer content becomes a balanced tree of UnixFS
nodes with at most 174 links each.

Source:
    UnixFS specification (https://specs.ipfs.tech/unixfs/), CIDv1
    (https://github.com/multiformats/cid); vectors in ``tests/vectors/cids.json``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import NamedTuple, NewType

from wardround.protocol.errors import Malformed

Cid = NewType("Cid", str)

CHUNK_BYTES = 1 << 20
LINKS_PER_NODE = 174

_RAW = 0x55
_DAG_PB = 0x70
_SHA2_256_32_BYTES = b"\x12\x20"
_UNIXFS_FILE = b"\x08\x02"
_CID_BYTES = 36


class _Node(NamedTuple):
    """A block of the tree: its binary CID, the file bytes below it and the bytes of its subtree."""

    cid: bytes
    file_bytes: int
    tree_bytes: int


def cid_of(data: bytes | memoryview) -> Cid:
    """Compute the CID of some content without keeping a copy of it.

    Args:
        data: any number of bytes, also none; a memoryview must be contiguous.

    Returns:
        Base32 lower-case CIDv1: ``bafkrei...`` up to 1 MiB, ``bafybei...`` above.
    """
    view = memoryview(data).cast("B")
    if len(view) <= CHUNK_BYTES:
        return cid_from_sha256(hashlib.sha256(view).digest())
    leaves = []
    for start in range(0, len(view), CHUNK_BYTES):
        chunk = view[start : start + CHUNK_BYTES]
        leaves.append((hashlib.sha256(chunk).digest(), len(chunk)))
    return cid_of_chunks(leaves)


def cid_from_sha256(digest: bytes) -> Cid:
    """Name the content of at most one chunk (1 MiB) by its SHA-256.

    Args:
        digest: 32 bytes.

    Raises:
        Malformed: the digest has another length.
    """
    if len(digest) != 32:
        raise Malformed("SHA-256 digest", f"it has {len(digest)} bytes instead of 32")
    return _text(_binary(_RAW, digest))


def cid_of_chunks(chunks: Iterable[tuple[bytes, int]]) -> Cid:
    """Compute the CID of content from the digests of its consecutive 1 MiB chunks.

    Args:
        chunks: (SHA-256, bytes) a chunk, at least one; all but the last of 1 MiB.
    """
    level = [_Node(_binary(_RAW, digest), size, size) for digest, size in chunks]
    while len(level) > 1:
        level = [
            _parent(level[start : start + LINKS_PER_NODE])
            for start in range(0, len(level), LINKS_PER_NODE)
        ]
    return _text(level[0].cid)


def sha256_of_cid(cid: str) -> bytes:
    """Read the digest in a CID of ours: of the content itself for ``bafkrei...``.

    Args:
        cid: as `cid_of` writes it.

    Returns:
        32 bytes.

    Raises:
        Malformed: not a base32 lower-case CIDv1 with SHA-256 of a raw or dag-pb block.
    """
    try:
        binary = base64.b32decode(cid[1:].upper() + "=" * (-(len(cid) - 1) % 8))
    except (binascii.Error, ValueError) as error:
        raise Malformed("CID", f"{cid!r:.100} is not base32") from error
    known = binary[:4] in (_binary(_RAW, b""), _binary(_DAG_PB, b""))
    # The comparison refuses capitals, stray bits and other spellings: a CID names a file.
    if len(binary) != _CID_BYTES or not known or _text(binary) != cid:
        raise Malformed("CID", f"{cid!r:.100} is not a CIDv1 of SHA-256 in lower-case base32")
    return binary[4:]


def _parent(children: list[_Node]) -> _Node:
    # A group of one still gets a node: all leaves of a balanced tree have the same depth.
    file_bytes = sum(child.file_bytes for child in children)
    unixfs = _UNIXFS_FILE + b"\x18" + _varint(file_bytes)
    unixfs += b"".join(b"\x20" + _varint(child.file_bytes) for child in children)
    links = b"".join(_field(2, _link(child)) for child in children)
    block = links + _field(1, unixfs)
    tree_bytes = len(block) + sum(child.tree_bytes for child in children)
    return _Node(_binary(_DAG_PB, hashlib.sha256(block).digest()), file_bytes, tree_bytes)


def _link(child: _Node) -> bytes:
    return _field(1, child.cid) + _field(2, b"") + b"\x18" + _varint(child.tree_bytes)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _binary(codec: int, digest: bytes) -> bytes:
    return bytes((1, codec)) + _SHA2_256_32_BYTES + digest


def _text(binary: bytes) -> Cid:
    return Cid("b" + base64.b32encode(binary).decode("ascii").lower().rstrip("="))
