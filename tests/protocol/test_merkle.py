from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.merkle import (
    CHUNK_BYTES,
    entries_root,
    inclusion_proof,
    leaf_hash,
    vector_leaves,
    vector_root,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "merkle.json").read_text())


def content(size: int, seed: int) -> bytes:
    return bytes((31 * i + 7 * (i >> 8) + seed) % 256 for i in range(size))


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 9162's own recursive definition."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node_hash(tree_hash(leaves[:split]), tree_hash(leaves[split:]))


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf is at an index of the tree with a given root.

    Args:
        leaf: leaf hash, 32 bytes.
        index: position of the leaf.
        size: number of leaves in the tree.
        path: sibling hashes from the leaf upwards.
        root: the committed root.
    Raises:
        ProtocolError: it does not.
    Source:
        RFC 9162 section 2.1.3.2.
    """
    refusal = ProtocolError(f"the proof of leaf {index} does not lead to the committed root.")
    if not 0 <= index < size or any(len(step) != 32 for step in path):
        raise refusal
    position, last, value = index, size - 1, leaf
    for step in path:
        if last == 0:
            raise refusal
        if position & 1 or position == last:
            value = node_hash(step, value)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            value = node_hash(value, step)
        position >>= 1
        last >>= 1
    if last != 0 or value != root:
        raise refusal


def test_certificate_transparency_roots() -> None:
    reference = VECTORS["certificate_transparency"]
    entries = [bytes.fromhex(entry) for entry in reference["entries"]]
    for size, root in reference["roots"].items():
        assert entries_root(entries[: int(size)]).hex() == root


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: str(v["bytes"]))
def test_vector_roots_and_proofs(vector: dict) -> None:
    data = content(vector["bytes"], vector["seed"])
    leaves = vector_leaves(data)
    assert len(leaves) == vector["leaves"]
    assert vector_root(data).hex() == vector["root"]
    for proof in vector["proofs"]:
        path = inclusion_proof(leaves, proof["leaf"])
        assert [step.hex() for step in path] == proof["path"]
        verify_inclusion(leaves[proof["leaf"]], proof["leaf"], len(leaves), path, vector_root(data))


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_root_is_the_recursive_definition(entries: list[bytes]) -> None:
    assert entries_root(entries) == tree_hash(entries)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70), st.data())
def test_every_leaf_proves_its_place_and_no_other(
    entries: list[bytes], data: st.DataObject
) -> None:
    leaves = [leaf_hash(entry) for entry in entries]
    root = entries_root(entries)
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = inclusion_proof(leaves, index)
    verify_inclusion(leaves[index], index, len(leaves), path, root)
    with pytest.raises(ProtocolError):
        verify_inclusion(leaf_hash(b"another leaf"), index, len(leaves), path, root)
    with pytest.raises(ProtocolError):
        verify_inclusion(leaves[index], len(leaves), len(leaves), path, root)
    with pytest.raises(ProtocolError):
        verify_inclusion(leaves[index], index, len(leaves), [*path, bytes(32)], root)
    if path:
        with pytest.raises(ProtocolError):
            verify_inclusion(leaves[index], index, len(leaves), path[:-1], root)
        broken = [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]]
        with pytest.raises(ProtocolError):
            verify_inclusion(leaves[index], index, len(leaves), broken, root)
        other = data.draw(st.integers(0, len(leaves) - 1).filter(lambda i: i != index))
        if leaves[other] != leaves[index]:
            with pytest.raises(ProtocolError):
                verify_inclusion(leaves[index], other, len(leaves), path, root)


def test_steps_must_be_hashes() -> None:
    with pytest.raises(ProtocolError):
        verify_inclusion(bytes(32), 0, 2, [b"short"], bytes(32))


def test_no_proof_of_a_leaf_that_is_not_there() -> None:
    with pytest.raises(Malformed):
        inclusion_proof([bytes(32)], 1)


def test_last_chunk_may_be_short() -> None:
    assert len(vector_leaves(bytes(CHUNK_BYTES + 4))) == 2
    assert vector_root(b"") == sha256(b"").digest()
