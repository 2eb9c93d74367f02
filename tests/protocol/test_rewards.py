from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import floor

from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.rounds import Memory
from wardround.protocol.evidence import Leaf
from wardround.protocol.inspection import entry_leaf
from wardround.protocol.merkle import is_included, leaf_hash
from wardround.protocol.rewards import Earning, ScoreProof, share_floor, shares_floor

rewards = st.integers(0, 2**128 - 1)
weights = st.lists(st.integers(1, 2**20), min_size=1, max_size=20)


@given(rewards, weights)
def test_shares_when_added_are_at_most_the_reward(reward: int, found: list[int]) -> None:
    total = sum(found)
    shares = [share_floor(reward, weight, total) for weight in found]
    assert shares == [floor(Fraction(reward * weight, total)) for weight in found]
    # Rounding leaves less than one unit a site.
    assert 0 <= reward - sum(shares) < len(found)


@given(rewards, weights)
def test_site_when_divided_over_two_keys_earns_no_more(reward: int, found: list[int]) -> None:
    whole, total = found[0], sum(found)
    for part in {1, whole // 2, whole - 1} - {0, whole}:
        divided = share_floor(reward, part, total) + share_floor(reward, whole - part, total)
        assert divided <= share_floor(reward, whole, total)


def test_earning_when_taken_from_a_round_is_the_site_s_share_with_its_proof() -> None:
    study = Memory()
    settled, closed = study.settle()
    entries = [row.entry() for row in settled.manifest.contributions]
    assert shares_floor(1000, entries, settled.record.total_weight) == settled.shares
    packed = [entry.pack() for entry in entries]
    for place, entry in enumerate(entries):
        earning = Earning(1, closed.closing, entry_leaf(packed, place))
        assert earning.share(1000) == settled.shares[entry.site]
        number, closing, data, index, path = earning.abi()
        assert (number, closing, data, index) == (1, closed.closing.abi(), entry.pack(), place)
        root = settled.record.contributions
        assert is_included(root, leaf_hash(data), index, len(entries), tuple(path))
        score = ScoreProof(*(Leaf(0, bytes(size), ()) for size in (64, 128, 128)))
        assert replace(earning, score=score).abi()[2] == entry.pack() + bytes(320)
