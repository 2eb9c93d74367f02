from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.commitments import KNOWN, commitments_root
from wardround.protocol.identifiers import Digest

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "commitments.json").read_text())

names = st.dictionaries(st.text(max_size=12), st.binary(min_size=32, max_size=32), max_size=8)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: str(len(v["commitments"])))
def test_root_when_of_the_vectors_is_theirs(vector: dict) -> None:
    named = {
        name: Digest(bytes.fromhex(digest[2:])) for name, digest in vector["commitments"].items()
    }
    assert "0x" + commitments_root(named).hex() == vector["root"]


def test_root_when_nothing_is_named_is_that_of_an_empty_list() -> None:
    assert commitments_root({}) == sha256(b"").digest()
    assert frozenset() == KNOWN


@given(names)
def test_root_when_names_come_in_any_order_is_the_same(found: dict[str, Digest]) -> None:
    assert commitments_root(found) == commitments_root(dict(reversed(found.items())))


@given(names, st.data())
def test_root_when_a_name_or_digest_differs_is_another(
    found: dict[str, Digest], data: st.DataObject
) -> None:
    changed = dict(found)
    name = data.draw(st.text(max_size=12))
    changed[name] = Digest(sha256(found.get(name, b"")).digest())
    assert commitments_root(changed) != commitments_root(found)
