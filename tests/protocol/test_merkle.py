from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.errors import Malformed
from wardround.protocol.merkle import (
    CHUNK_BYTES,
    entries_root,
    inclusion_proof,
    is_included,
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
        leaf = leaves[proof["leaf"]]
        assert is_included(vector_root(data), leaf, proof["leaf"], len(leaves), path)


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
    size = len(leaves)
    assert is_included(root, leaves[index], index, size, path)
    assert not is_included(root, leaf_hash(b"another leaf"), index, size, path)
    assert not is_included(root, leaves[index], size, size, path)
    assert not is_included(root, leaves[index], index, size, [*path, bytes(32)])
    if path:
        assert not is_included(root, leaves[index], index, size, path[:-1])
        broken = [bytes([path[0][0] ^ 1]) + path[0][1:], *path[1:]]
        assert not is_included(root, leaves[index], index, size, broken)
        other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index))
        if leaves[other] != leaves[index]:
            assert not is_included(root, leaves[index], other, size, path)


def test_steps_must_be_hashes() -> None:
    leaf, step = bytes(32), b"short"
    assert not is_included(node_hash(leaf, step), leaf, 0, 2, [step])


def test_no_proof_of_a_leaf_that_is_not_there() -> None:
    with pytest.raises(Malformed):
        inclusion_proof([bytes(32)], 1)


def test_last_chunk_may_be_short() -> None:
    assert len(vector_leaves(bytes(CHUNK_BYTES + 4))) == 2
    assert vector_root(b"") == sha256(b"").digest()
