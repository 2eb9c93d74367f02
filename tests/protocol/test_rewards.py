from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.rounds import verify_claim
from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.identifiers import address_of
from wardround.protocol.rewards import accumulate, reward_tree, split_floor

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rewards.json").read_text())

addresses = st.binary(min_size=20, max_size=20).map(lambda b: address_of("0x" + b.hex()))


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: str(len(v["values"])))
def test_trees_are_openzeppelins(vector: dict) -> None:
    amounts = {address_of(site): int(amount) for site, amount in vector["values"]}
    tree = reward_tree(amounts)
    assert "0x" + tree.root.hex() == vector["root"]
    for (site, _), proof in zip(vector["values"], vector["proofs"], strict=True):
        assert ["0x" + step.hex() for step in tree.proof(address_of(site))] == proof


@given(st.dictionaries(addresses, st.integers(0, 2**128), min_size=1, max_size=20))
def test_every_claim_verifies_and_a_larger_one_does_not(amounts: dict) -> None:
    tree = reward_tree(amounts)
    for site, amount in amounts.items():
        proof = tree.proof(site)
        assert verify_claim(tree.root, site, amount, proof)
        assert not verify_claim(tree.root, site, amount + 1, proof)


@given(st.integers(0, 2**100), st.dictionaries(addresses, st.integers(0, 10**6), min_size=1))
def test_shares_never_exceed_the_reward(reward: int, scores: dict) -> None:
    shares = split_floor(reward, scores)
    assert sum(shares.values()) <= reward
    assert all(share >= 0 for share in shares.values())
    if sum(scores.values()):
        assert reward - sum(shares.values()) < len(scores)
    else:
        assert not any(shares.values())


def test_rewards_accumulate_and_nobody_is_forgotten() -> None:
    one, two = address_of("0x" + "11" * 20), address_of("0x" + "22" * 20)
    assert accumulate({two: 5}, {one: 1, two: 2}) == {one: 1, two: 7}
    assert accumulate({one: 3}, {two: 1}) == {one: 3, two: 1}


def test_an_empty_tree_and_a_stranger_are_named() -> None:
    with pytest.raises(ProtocolError):
        reward_tree({})
    tree = reward_tree({address_of("0x" + "11" * 20): 1})
    with pytest.raises(Malformed):
        tree.proof(address_of("0x" + "22" * 20))
