"""Keys of masks: equal to slow derivations, one-way, and proven by one leaf."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.masking import DOMAIN, VECTORS, read
from tests.vectors import masking as slow
from tests.vectors.trees import tree
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import Root, StudyId, address_of
from wardround.protocol.masking.ratchet import (
    SETS,
    ChainKey,
    KeyTree,
    MaskSet,
    holders_of,
    leaf_data,
    stream_key,
    stream_keys,
)
from wardround.protocol.masking.streams import key_stream

OWNER = MaskSet(DOMAIN, StudyId(b"\x01" * 32), address_of("0x" + "09" * 20), 0, 1)
ROOT = b"\x07" * 32


def set_of(vector: dict[str, Any]) -> MaskSet:
    study, site = StudyId(read(vector["study"])), address_of(vector["site"])
    return MaskSet(DOMAIN, study, site, vector["epoch"], vector["set"])


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda v: f"set {v['set']}")
def test_keys_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    first = ChainKey.first(read(vector["root"]), set_of(vector), vector["first_round"])
    shape = KeyTree(vector["first_round"], vector["last_round"], vector["segments"])
    for number, key in vector["chain_keys"].items():
        assert first.at(int(number)).key == read(key)
    assert shape.commitment(first) == read(vector["commitment"])
    base = Root(read(vector["base_model"]))
    for opened in vector["opened"]:
        number, segment, path = opened["round"], opened["segment"], list(map(read, opened["path"]))
        key = first.at(number).segment_keys(shape.segments)[segment]
        assert key == read(opened["segment_key"])
        assert leaf_data(number, segment, key) == read(opened["leaf"])
        assert shape.index(number, segment) == opened["index"]
        assert shape.proof(first, number, segment) == path
        stream = stream_key(key, base, opened["attempt"])
        assert stream == read(opened["stream_key"])
        for block in opened["blocks"]:
            if block["counter"] < 100:
                data = key_stream(stream).update(bytes(64 * (block["counter"] + 1)))
                assert data[-64:] == read(block["block"])


@settings(deadline=None)
@given(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**32 - 1),
    st.sampled_from(SETS),
    st.integers(1, 2**32 - 9),
    st.integers(0, 8),
    st.integers(1, 9),
)
def test_keys_are_those_of_the_slow_derivation(
    root: bytes, epoch: int, number: int, first: int, later: int, segments: int
) -> None:
    owner = MaskSet(DOMAIN, OWNER.study, OWNER.site, epoch, number)
    key = ChainKey.first(root, owner, first).at(first + later)
    expected = slow.chain_key(
        root, DOMAIN.separator, OWNER.study, OWNER.site, epoch, number, first, first + later
    )
    assert (key.round, key.key) == (first + later, expected)
    base = Root(root[::-1])
    assert stream_keys(key, segments, base, epoch) == [
        slow.stream_key(slow.segment_key(expected, segment), base, epoch)
        for segment in range(segments)
    ]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(0, 6), st.integers(1, 7), st.data())
def test_every_segment_key_is_proven_and_no_other(
    first: int, more: int, segments: int, data: st.DataObject
) -> None:
    shape, key = KeyTree(first, first + more, segments), ChainKey.first(ROOT, OWNER, first)
    commitment = shape.commitment(key)
    rows = [
        slow.leaf(number, segment, one)
        for number in range(first, first + more + 1)
        for segment, one in enumerate(key.at(number).segment_keys(segments))
    ]
    assert commitment == tree(rows)
    number = data.draw(st.integers(first, first + more))
    segment = data.draw(st.integers(0, segments - 1))
    secret = key.at(number).segment_keys(segments)[segment]
    path = shape.proof(key, number, segment)
    assert shape.proves(commitment, number, segment, secret, path)
    assert not shape.proves(commitment, number, segment, bytes(32), path)
    assert not shape.proves(Root(bytes(32)), number, segment, secret, path)
    other = data.draw(st.integers(first, first + more)), data.draw(st.integers(0, segments - 1))
    assert shape.proves(commitment, *other, secret, path) == (other == (number, segment))


def test_chain_goes_one_way() -> None:
    """From a later key the earlier are not to be had: there is no call, and no key repeats."""
    key = ChainKey.first(ROOT, OWNER, 1).at(4)
    with pytest.raises(Malformed, match="round 3"):
        key.at(3)
    keys = [ChainKey.first(ROOT, OWNER, 1).at(number).key for number in range(1, 30)]
    assert len(set(keys)) == 29


def test_each_set_round_segment_base_and_attempt_has_its_own_stream() -> None:
    found = [
        stream
        for domain_study in (b"\x01", b"\x02")
        for epoch in (0, 1)
        for number in SETS
        for base in (b"\x03", b"\x04")
        for attempt in (0, 1)
        for later in (1, 2)
        for stream in stream_keys(
            ChainKey.first(
                ROOT, MaskSet(DOMAIN, StudyId(domain_study * 32), OWNER.site, epoch, number), 1
            ).at(later),
            3,
            Root(base * 32),
            attempt,
        )
    ]
    assert len(set(found)) == len(found) == 2 * 2 * 3 * 2 * 2 * 2 * 3


def test_keys_are_not_shown() -> None:
    assert repr(ChainKey.first(ROOT, OWNER, 1)) == "ChainKey(round=1)"


def test_every_two_helpers_hold_all_sets_and_one_alone_two() -> None:
    held = {helper: {s for s in SETS if helper in holders_of(s)} for helper in range(3)}
    assert held == {0: {1, 2}, 1: {0, 2}, 2: {0, 1}}


@pytest.mark.parametrize("shape", [(0, 1, 1), (2, 1, 1), (1, 1, 0), (1, 1025, 1024), (1, 2**21, 1)])
def test_trees_that_no_site_makes_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(Malformed):
        KeyTree(*shape)


@pytest.mark.parametrize("place", [(2, 0), (6, 0), (3, 4), (3, -1)])
def test_places_beyond_the_tree_are_refused(place: tuple[int, int]) -> None:
    with pytest.raises(Malformed, match="not of this setup"):
        KeyTree(3, 5, 4).index(*place)


def test_root_of_another_length_is_refused() -> None:
    with pytest.raises(Malformed, match="mask root"):
        ChainKey.first(bytes(31), OWNER, 1)
