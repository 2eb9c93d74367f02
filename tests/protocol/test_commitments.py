from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.commitments import (
    ROW_BYTES,
    commit,
    commitments_root,
    named_leaves,
    names_of,
    projection_score,
    running_total_of,
    split_rows,
)
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import Malformed
from wardround.protocol.evidence import Leaf
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.identifiers import Digest, Root, SiteAddress
from wardround.protocol.inspection import entry_leaf
from wardround.protocol.merkle import is_included, leaf_hash
from wardround.protocol.record import RuleId, ScoringId
from wardround.protocol.rewards import ScoreProof, shares_floor
from wardround.protocol.rules import Rule

FOLDER = Path(__file__).parents[1] / "vectors"
VECTORS = json.loads((FOLDER / "commitments.json").read_text())
ROUNDS = json.loads((FOLDER / "scores.json").read_text())["rounds"]

names = st.dictionaries(st.text(max_size=12), st.binary(min_size=32, max_size=32), max_size=8)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: str(len(v["commitments"])))
def test_root_when_of_the_vectors_is_theirs(vector: dict) -> None:
    named = {
        name: Digest(bytes.fromhex(digest[2:])) for name, digest in vector["commitments"].items()
    }
    assert "0x" + commitments_root(named).hex() == vector["root"]


def test_root_when_nothing_is_named_is_that_of_an_empty_list() -> None:
    assert commitments_root({}) == sha256(b"").digest()


@pytest.mark.parametrize("rule", RuleId)
@pytest.mark.parametrize("scoring", ScoringId)
def test_names_ascend_and_are_known(rule: RuleId, scoring: ScoringId) -> None:
    names = names_of(rule, scoring)
    assert list(names) == sorted(names)
    assert set(names) <= ROW_BYTES.keys()


SHOWN = [one for one in ROUNDS if "updates" in one]


@pytest.mark.parametrize("case", SHOWN, ids=lambda case: case["name"])
def test_round_when_of_the_vectors_commits_to_their_rows(case: dict) -> None:
    base, model, *updates = (
        vector_from_bytes(bytes.fromhex(text[2:]), case["parameters"])
        for text in (case["base"], case["model"], *case["updates"])
    )
    rule, scoring = Rule(RuleId(case["rule"]), case["rule_argument"]), ScoringId(case["scoring"])
    found = commit(rule, scoring, case["weights"], updates, model.astype(np.int64) - base)
    assert {name: ["0x" + row.hex() for row in rows] for name, rows in found.rows.items()} == (
        case["rows"]
    )
    assert list(found.rows) == case["names"] == list(names_of(rule.id, scoring))
    assert ["0x" + root.hex() for root in found.roots.values()] == case["roots"]
    assert "0x" + found.root.hex() == case["commitments"]
    for name, rows in found.rows.items():
        assert split_rows(name, found.data(name)) == list(rows)
        assert {len(row) for row in rows} == {ROW_BYTES[name]}
    entries = [entry_of(place, weight) for place, weight in enumerate(case["weights"])]
    shares = shares_floor(int(case["reward"]), entries, sum(case["weights"]), found.scores)
    assert [str(share) for share in shares.values()] == case["shares"]
    if scoring is ScoringId.PROJECTION:
        for place in range(len(entries)):
            rows, last = found.rows["scores"], len(entries) - 1
            named = entry_leaf(named_leaves(found.roots), case["names"].index("scores"))
            proof = ScoreProof(named, entry_leaf(rows, place), entry_leaf(rows, last))
            check_score_proof(proof, found.root, found.roots, len(entries))


def entry_of(place: int, weight: int) -> Entry:
    site = SiteAddress("0x" + (place + 1).to_bytes(20, "big").hex())
    return Entry(site, weight, Root(bytes(32)), Digest(bytes(32)), bytes(65))


def check_score_proof(proof: ScoreProof, root: bytes, named: dict[str, Root], count: int) -> None:
    def leads(leaf: Leaf, to: bytes, size: int) -> bool:
        return is_included(to, leaf_hash(leaf.data), leaf.index, size, leaf.path)

    assert leads(proof.named, root, len(named))
    assert proof.named.data == sha256(b"scores").digest() + named["scores"]
    assert leads(proof.row, named["scores"], count)
    assert leads(proof.last, named["scores"], count)
    assert proof.last.index == count - 1
    parts = (proof.named, proof.row, proof.last)
    assert proof.opening == b"".join(part.opening for part in parts)


products = st.integers(-(2**95), 2**95)


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**16), products, st.integers(1, 9))
def test_score_when_split_over_keys_gains_nothing(
    weight: int, factor: int, product: int, parts: int
) -> None:
    """The same update sent by several keys, each with a part of the weight."""
    weights = [weight // parts] * (parts - 1) + [weight - (parts - 1) * (weight // parts)]
    split = sum(projection_score(one, factor, product) for one in weights)
    assert (
        split
        <= projection_score(weight, factor, product)
        == max(0, weight * factor * product // 65536)
    )


def test_rows_when_cut_in_the_middle_are_refused() -> None:
    assert split_rows("ranks", bytes(64)) == [bytes(32)] * 2
    with pytest.raises(Malformed):
        split_rows("scores", bytes(130))
    assert running_total_of(bytes(96) + b"\x01".rjust(32, b"\0")) == 1


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
