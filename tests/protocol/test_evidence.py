"""Evidence that a closed round breaks the rules: what is cut out leads to the committed roots."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.chain.artifacts import load_artifact
from wardround.chain.contract import Contract
from wardround.protocol.contribution import ENTRY_BYTES, Entry
from wardround.protocol.errors import Malformed, SpecificationError
from wardround.protocol.evidence import (
    CALLDATA_LIMIT,
    CoordinateEvidence,
    value_at,
)
from wardround.protocol.fixed_point import INT32_MAX, INT32_MIN, IntVector
from wardround.protocol.identifiers import Digest, Root, address_of
from wardround.protocol.inspection import (
    chunk_leaf,
    coordinate_evidence,
    entry_leaf,
    first_wrong_coordinate,
    omission,
    split_entries,
    tally_steps,
    unsorted_pair,
    wrong_totals,
)
from wardround.protocol.merkle import CHUNK_BYTES, entries_root, is_included, leaf_hash, vector_root
from wardround.protocol.record import Record, RuleId, genesis_closing
from wardround.protocol.rules import Rule, aggregate, new_model
from wardround.protocol.whole_evidence import (
    CLIPPED_SITES,
    PROVABLE_SITES,
    RANKED_SITES,
    check_provable,
    path_length,
)

RULES = [
    Rule(RuleId.MEAN),
    Rule(RuleId.MEDIAN),
    Rule(RuleId.TRIMMED_MEAN, 1),
    Rule(RuleId.SUM, bound=2**20),
]


def entry_of(place: int, weight: int = 1) -> bytes:
    site = address_of("0x" + (place + 1).to_bytes(20, "big").hex())
    return Entry(site, weight, Root(bytes(32)), Digest(bytes(32)), bytes(65)).pack()


def record_of(count: int, total_weight: int) -> Record:
    zero = bytes(32)
    return Record(Root(zero), Root(zero), Digest(zero), Root(zero), count, total_weight)


def vectors(seed: int, count: int, size: int, width: int = 4) -> list[IntVector]:
    random = np.random.default_rng(seed)
    dtype = np.int32 if width == 4 else np.int64
    return [random.integers(-(2**20), 2**20, size, dtype=dtype) for _ in range(count)]


def evidence_of(
    coordinate: int,
    updates: Sequence[IntVector],
    base: IntVector,
    model: IntVector,
    rule: Rule = RULES[0],
) -> CoordinateEvidence:
    entries = b"".join(entry_of(place) for place in range(len(updates)))
    return coordinate_evidence(rule, coordinate, entries, updates, base, model)


# ---------------------------------------------------------------- vectors


@given(size=st.integers(1, 2000), width=st.sampled_from([4, 8]), data=st.data())
def test_chunk_leads_to_root_and_holds_its_coordinates(
    size: int, width: int, data: st.DataObject
) -> None:
    (vector,) = vectors(size, 1, size, width)
    coordinate = data.draw(st.integers(0, size - 1))
    index = width * coordinate // CHUNK_BYTES
    leaf = chunk_leaf(vector.data, index)
    chunks = -(-width * size // CHUNK_BYTES)
    assert is_included(vector_root(vector.data), leaf_hash(leaf.data), index, chunks, leaf.path)
    assert value_at(leaf.data, coordinate, width) == vector[coordinate]
    assert leaf.opening == leaf.data + b"".join(leaf.path)
    assert len(leaf.opening) == leaf.calldata_bytes


def test_chunk_is_refused_when_the_vector_has_none_there() -> None:
    with pytest.raises(Malformed):
        chunk_leaf(bytes(CHUNK_BYTES), 1)


@pytest.mark.parametrize("value", [INT32_MIN, -1, 0, INT32_MAX])
def test_value_at_reads_signed_numbers(value: int) -> None:
    assert value_at(np.array([7, value], np.int32).tobytes(), CHUNK_BYTES // 4 + 1) == value
    wide = value << 32 | 7
    assert value_at(np.array([7, wide], np.int64).tobytes(), CHUNK_BYTES // 8 + 1, 8) == wide


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 700), data=st.data())
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_first_wrong_coordinate_is_the_one_that_was_shifted(
    rule: Rule, seed: int, size: int, data: st.DataObject
) -> None:
    updates = vectors(seed, 3, size, rule.id.coordinate_bytes)
    (base,) = vectors(seed + 1, 1, size, rule.id.coordinate_bytes)
    weights = [3, 1, 9]
    model = new_model(rule, base, aggregate(rule, updates, weights))
    assert first_wrong_coordinate(rule, base, updates, weights, model) is None
    shifted = data.draw(st.integers(0, size - 1))
    model[shifted:] += 1
    assert first_wrong_coordinate(rule, base, updates, weights, model) == shifted


def test_a_sum_outside_of_int32_is_wrong_whatever_is_recorded() -> None:
    base = np.array([0, INT32_MAX], np.int32)
    updates = [np.array([5, 1], np.int32)]
    wrapped = np.array([5, INT32_MIN], np.int32)
    assert first_wrong_coordinate(RULES[0], base, updates, [1], wrapped) == 1


@pytest.mark.parametrize("value", [1001, -1001, 2**63 - 1, -(2**63)])
def test_a_sum_of_what_exceeds_the_bound_is_wrong_whatever_is_recorded(value: int) -> None:
    rule, base = Rule(RuleId.SUM, bound=1000), np.zeros(200, np.int64)
    updates = [np.full(200, 1000, np.int64), np.full(200, -1000, np.int64)]
    assert first_wrong_coordinate(rule, base, updates, [1, 1], base) is None
    updates[1][150] = value
    total = np.add(*updates)
    assert first_wrong_coordinate(rule, base, updates, [1, 1], total) == 150


def test_evidence_of_a_sum_shows_no_base() -> None:
    rule = RULES[-1]
    updates = vectors(4, 3, 200, width=8)
    evidence = evidence_of(130, updates, updates[0], updates[1], rule)
    assert evidence.values == tuple(update[130] for update in updates)
    assert evidence.base.opening == b""
    assert [len(leaf.data) for leaf in evidence.updates] == [8 * (200 - 128)] * 3
    assert [step.values for step in evidence.steps(2000)] == [(one,) for one in evidence.values]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_order_statistics_bound_what_a_rule_averages(rule: Rule, count: int) -> None:
    updates = vectors(count, count, 300)
    evidence = evidence_of(299, updates, updates[0], updates[1])
    low, high = evidence.order_statistics(rule)
    values = sorted(int(update[299]) for update in updates)
    assert sorted(evidence.values) == values
    if rule.id in (RuleId.MEAN, RuleId.SUM):
        assert (low, high) == (0, 0)
    elif rule.id is RuleId.MEDIAN:
        assert (low + high) // 2 == aggregate(rule, updates, [1] * count)[299]
    else:
        kept = [value for value in values if low <= value <= high]
        assert sum(kept) // len(kept) == aggregate(rule, updates, [1] * count)[299]


@pytest.mark.parametrize("limit", [4000, 7000, CALLDATA_LIMIT])
def test_steps_fit_the_limit_and_keep_the_order(limit: int) -> None:
    updates = vectors(5, 11, 600)
    evidence = evidence_of(520, updates, updates[0], updates[1])
    steps = evidence.steps(limit)
    assert all(step.calldata_bytes <= limit for step in steps)
    assert b"".join(step.entries for step in steps) == evidence.entries
    assert [leaf for step in steps for leaf in step.updates] == list(evidence.updates)
    assert (len(steps) == 1) == (evidence.calldata_bytes <= limit)


def test_steps_are_refused_when_not_one_entry_fits() -> None:
    updates = vectors(5, 2, 600)
    with pytest.raises(Malformed):
        evidence_of(0, updates, updates[0], updates[1]).steps(2000)


# ---------------------------------------------------------------- entries


@given(count=st.integers(1, 40), data=st.data())
def test_entry_leads_to_root(count: int, data: st.DataObject) -> None:
    entries = [entry_of(place) for place in range(count)]
    assert split_entries(b"".join(entries)) == entries
    index = data.draw(st.integers(0, count - 1))
    leaf = entry_leaf(entries, index)
    assert is_included(entries_root(entries), leaf_hash(leaf.data), index, count, leaf.path)


def test_entries_are_not_split_when_one_is_cut() -> None:
    with pytest.raises(Malformed):
        split_entries(bytes(ENTRY_BYTES + 1))


@given(count=st.integers(2, 20), data=st.data())
def test_unsorted_pair_is_found_where_it_stands(count: int, data: st.DataObject) -> None:
    entries = [entry_of(place) for place in range(count)]
    assert unsorted_pair(entries) is None
    place = data.draw(st.integers(0, count - 2))
    if data.draw(st.booleans()):
        entries[place + 1] = entries[place]
    else:
        entries[place], entries[place + 1] = entries[place + 1], entries[place]
    pair = unsorted_pair(entries)
    assert pair is not None
    assert pair.second.index == pair.first.index + 1
    assert pair.first.data[:20] >= pair.second.data[:20]
    for leaf in (pair.first, pair.second):
        assert is_included(
            entries_root(entries), leaf_hash(leaf.data), leaf.index, count, leaf.path
        )


@given(count=st.integers(1, 20), data=st.data())
def test_omission_names_the_neighbours_of_a_missing_site(count: int, data: st.DataObject) -> None:
    whole = [entry_of(place) for place in range(count + 1)]
    missing = data.draw(st.integers(0, count))
    entries = whole[:missing] + whole[missing + 1 :]
    site = Entry.unpack(whole[missing]).site
    evidence = omission(entries, site)
    before, after = evidence.before, evidence.behind
    assert evidence.place == missing
    assert (before is None) == (missing == 0)
    assert (after is None) == (missing == count)
    if before is not None:
        assert (before.index, before.data) == (missing - 1, whole[missing - 1])
    if after is not None:
        assert (after.index, after.data) == (missing, whole[missing + 1])
    with pytest.raises(Malformed):
        omission(whole, site)


@pytest.mark.parametrize(
    ("count", "total", "weights", "words"),
    [
        (3, 6, [1, 2, 3], None),
        (4, 6, [1, 2, 3], "its tree holds 3"),
        (3, 7, [1, 2, 3], "its entries' is 6"),
    ],
)
def test_wrong_totals_say_what_is_wrong(
    count: int, total: int, weights: list[int], words: str | None
) -> None:
    entries = [Entry.unpack(entry_of(place, weight)) for place, weight in enumerate(weights)]
    found = wrong_totals(entries, record_of(count, total))
    assert found is None if words is None else found is not None and words in found


def test_tally_steps_cut_between_entries() -> None:
    entries = b"".join(entry_of(place) for place in range(7))
    steps = list(tally_steps(entries, limit_bytes=2 * ENTRY_BYTES + 50))
    assert [len(step) // ENTRY_BYTES for step in steps] == [2, 2, 2, 1]
    assert b"".join(steps) == entries


def rank_reveal(sites: int, entry: int) -> int:
    """Bytes of the transaction that reveals the proof of a rank among so many."""

    def opened(row: int, index: int, size: int) -> int:
        return row + 32 * path_length(index, size)

    pairs = list(combinations(range(sites), 2))
    openings = opened(64, 0, 2) + opened(64, 1, 2) + opened(32, entry, sites)
    openings += sum(opened(64, row, len(pairs)) for row, pair in enumerate(pairs) if entry in pair)
    court = Contract(load_artifact("Court").abi, "0x" + "11" * 20)
    where = (bytes(32), 1, genesis_closing(Root(bytes(32))).abi())
    challenge = court.function("challengeRank", *where, entry, bytes(openings)).data
    return len(court.function("revealChallenge", *where, bytes(32), challenge).data)


def test_rank_of_as_many_sites_as_there_may_be_is_proven_in_one_transaction() -> None:
    longest = max(rank_reveal(RANKED_SITES, entry) for entry in (0, 1, RANKED_SITES - 1))
    assert longest == 128_644 < CALLDATA_LIMIT
    assert rank_reveal(RANKED_SITES + 1, 0) > CALLDATA_LIMIT


def test_more_sites_than_can_be_proven_are_refused_of_their_rules_alone() -> None:
    assert PROVABLE_SITES == {RuleId.MULTI_KRUM: 235, RuleId.CLIPPED_MEAN: 1_400}
    for rule in RuleId:
        most = PROVABLE_SITES.get(rule, 1_000_000)
        check_provable(rule, most, "study.toml")
        if rule in PROVABLE_SITES:
            words = rf"rule: {most + 1} sites are too many for {rule.name.lower()}"
            with pytest.raises(SpecificationError, match=words):
                check_provable(rule, most + 1, "study.toml")


def test_step_of_a_tally_of_as_many_sites_as_there_may_be_fits_a_transaction() -> None:
    # An entry and its update's chunk, whose path has 24 siblings at most, and all norms.
    step = (bytes(ENTRY_BYTES), bytes(1024 + 24 * 32), bytes(64 * CLIPPED_SITES))
    call = Contract(load_artifact("Court").abi, "0x" + "11" * 20).function("addToTally", 1, *step)
    assert len(call.data) < CALLDATA_LIMIT
