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
    range_proof,
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


def fold_range(leaves: list[bytes], first: int, size: int, path: list[bytes]) -> bytes:
    """The root over leaves that follow one another, as MerkleTree.verifyRange folds them."""
    nodes, last, steps = list(leaves), size - 1, iter(path)
    while last:
        if first % 2:
            nodes, first = [next(steps), *nodes], first - 1
        if len(nodes) % 2 and first + len(nodes) - 1 != last:
            nodes.append(next(steps))
        pairs = [nodes[place : place + 2] for place in range(0, len(nodes), 2)]
        nodes = [node_hash(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        first, last = first // 2, last // 2
    assert next(steps, None) is None
    assert len(nodes) == 1
    return nodes[0]


@given(st.integers(1, 70), st.data())
def test_range_proof_leads_from_leaves_to_the_root(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([place])) for place in range(size)]
    first = data.draw(st.integers(0, size - 1))
    count = data.draw(st.integers(1, size - first))
    path = range_proof(leaves, first, count)
    root = entries_root([bytes([place]) for place in range(size)])
    assert fold_range(leaves[first : first + count], first, size, path) == root
    if count == 1:
        assert path == inclusion_proof(leaves, first)


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 0), (2, 2), (3, 1)])
def test_range_proof_of_leaves_that_are_not_there(first: int, count: int) -> None:
    with pytest.raises(Malformed):
        range_proof([leaf_hash(b"a"), leaf_hash(b"b"), leaf_hash(b"c")], first, count)
