"""Python and Solidity give the same numbers, roots and verdicts: thousands of random cases."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.mirror import mirror
from wardround.protocol.contribution import WEIGHT_LIMIT, Entry
from wardround.protocol.errors import OutOfRange
from wardround.protocol.evidence import value_at
from wardround.protocol.fixed_point import INT32_MAX, INT32_MIN
from wardround.protocol.identifiers import Digest, Root, SiteAddress, address_of
from wardround.protocol.inspection import chunk_leaf, entry_leaf
from wardround.protocol.merkle import (
    CHUNK_BYTES,
    entries_root,
    is_included,
    leaf_hash,
    vector_root,
)
from wardround.protocol.record import ZERO_ADDRESS, Closing, Record, RuleId
from wardround.protocol.rewards import Earning
from wardround.protocol.rules import Rule, aggregate

many = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
some = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    # Once, and not in an example: what does not compile fails or is skipped at once.
    mirror()


EXTREMES = [INT32_MIN, INT32_MIN + 1, -2, -1, 0, 1, 2, INT32_MAX - 1, INT32_MAX]
int32 = st.one_of(st.integers(INT32_MIN, INT32_MAX), st.sampled_from(EXTREMES))
seeds = st.integers(0, 2**32 - 1)


def drawn_values(random: np.random.Generator) -> list[int]:
    """Mostly few values of one magnitude, extremes far more often than chance would give them."""
    count, bits = min(40, int(random.geometric(0.2))), int(random.integers(1, 32))
    values = random.integers(-(2**bits), 2**bits, count).clip(INT32_MIN, INT32_MAX)
    chosen = random.choice(EXTREMES, count)
    return [int(value) for value in np.where(random.random(count) < 0.2, chosen, values)]


def drawn_weights(random: np.random.Generator, count: int) -> list[int]:
    """Positive weights whose sum stays below its limit, and often comes close to it."""
    largest = (WEIGHT_LIMIT - 1) // count
    high = int(random.choice([2, 100, largest + 1]))
    weights = random.integers(1, high, count, dtype=np.int64)
    return [largest] * count if random.random() < 0.1 else [int(weight) for weight in weights]


def in_python(rule: Rule, values: Sequence[int], weights: Sequence[int]) -> int:
    updates = [np.array([value], np.int32) for value in values]
    return int(aggregate(rule, updates, weights)[0])


@many
@given(seeds)
def test_mean_is_the_same(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = drawn_values(random)
    weights = drawn_weights(random, len(values))
    assert mirror()("mean", values, weights) == in_python(Rule(RuleId.MEAN), values, weights)


@many
@given(seeds)
def test_median_is_the_same(seed: int) -> None:
    values = drawn_values(np.random.default_rng(seed))
    expected = in_python(Rule(RuleId.MEDIAN), values, [1] * len(values))
    assert mirror()("median", values) == expected


@many
@given(seeds)
def test_trimmed_mean_is_the_same(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = drawn_values(random)
    trim = int(random.integers(0, (len(values) - 1) // 2 + 1))
    expected = in_python(Rule(RuleId.TRIMMED_MEAN, trim), values, [1] * len(values))
    assert mirror()("trimmedMean", values, trim) == expected


@many
@given(seeds)
def test_sum_is_the_same_and_one_beyond_the_bound_has_none(seed: int) -> None:
    random = np.random.default_rng(seed)
    bound = int(random.choice([1, 1000, INT32_MAX]))
    values = [max(-bound, min(bound, value)) for value in drawn_values(random)]
    if seed % 3 == 0:
        values[0] = int(random.choice([bound + 1, -bound - 1, 2**63 - 1, -(2**63)]))
    updates = [np.array([value], np.int64) for value in values]
    found = mirror()("sum", values, bound)
    if seed % 3:
        rule = Rule(RuleId.SUM, bound=bound)
        assert found == aggregate(rule, updates, [1] * len(values))[0] == sum(values)
        return
    assert found > 2**127
    with pytest.raises(OutOfRange):
        aggregate(Rule(RuleId.SUM, bound=bound), updates, [1] * len(values))


@some
@given(st.lists(int32, min_size=1, max_size=9))
def test_rules_are_the_same_where_numbers_are_chosen_to_differ(values: list[int]) -> None:
    ones = [1] * len(values)
    assert list(mirror()("sorted", values)) == sorted(values)
    assert mirror()("mean", values, ones) == in_python(Rule(RuleId.MEAN), values, ones)
    assert mirror()("median", values) == in_python(Rule(RuleId.MEDIAN), values, ones)


@some
@given(st.binary(max_size=400), st.integers(1, 60))
def test_tree_of_anything_is_the_same(data: bytes, size: int) -> None:
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    expected = entries_root(parts)
    assert mirror()("treeRoot", data, size) == expected
    assert mirror()("rangeRoot", data, size) == expected
    if not parts:
        assert expected == sha256(b"").digest()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 127, 129])
def test_tree_is_the_same_at_odd_sizes(count: int) -> None:
    data = bytes(index % 251 for index in range(20 * count))
    expected = entries_root(data[20 * place : 20 * place + 20] for place in range(count))
    assert mirror()("treeRoot", data, 20) == expected
    assert mirror()("rangeRoot", data, 20) == expected


@some
@given(
    st.sampled_from([np.int32, np.int64]),
    st.integers(1, 3 * CHUNK_BYTES // 4 + 2),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_coordinate_is_read_and_proven_the_same(
    dtype: type[np.signedinteger], parameters: int, seed: int, data: st.DataObject
) -> None:
    random, limits = np.random.default_rng(seed), np.iinfo(dtype)
    vector = random.integers(limits.min, limits.max, parameters, dtype=dtype, endpoint=True)
    coordinate, width = data.draw(st.integers(0, parameters - 1)), vector.itemsize
    leaf = chunk_leaf(vector.data, coordinate * width // CHUNK_BYTES)
    root = vector_root(vector.data)
    chunks, length, siblings = mirror()("place", vector.nbytes, leaf.index)
    assert chunks == -(-vector.nbytes // CHUNK_BYTES)
    assert (length, siblings) == (len(leaf.data), len(leaf.path))
    assert mirror()("isIncluded", leaf.opening, length, root, leaf.index, chunks)
    start = coordinate * width % CHUNK_BYTES
    read = value_at(leaf.data, coordinate, width)
    assert mirror()("valueAt", leaf.data, start, width) == read == vector[coordinate]


@many
@given(st.integers(1, 40), st.data())
def test_inclusion_is_judged_the_same_whatever_the_proof(count: int, data: st.DataObject) -> None:
    entries = [bytes([place]) * 33 for place in range(count)]
    index = data.draw(st.integers(0, count - 1))
    leaf, root = entry_leaf(entries, index), entries_root(entries)
    opening = bytearray(leaf.opening)
    change = data.draw(st.sampled_from(["none", "byte", "cut", "longer", "index", "size"]))
    size = count
    if change == "byte":
        opening[data.draw(st.integers(0, len(opening) - 1))] ^= data.draw(st.integers(1, 255))
    elif change == "cut" and len(opening) > 33:
        del opening[-32:]
    elif change == "longer":
        opening += bytes(32)
    elif change == "index":
        index = data.draw(st.integers(0, 2 * count))
    elif change == "size":
        size = data.draw(st.integers(0, 2 * count))
    proof = bytes(opening)
    path = [proof[start : start + 32] for start in range(33, len(proof), 32)]
    expected = is_included(root, leaf_hash(proof[:33]), index, size, path)
    assert mirror()("isIncluded", proof, 33, root, index, size) is expected
    if change in ("none", "byte", "longer"):
        assert expected is (change == "none")


@some
@given(
    weights=st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=33),
    total=st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_entry_is_read_and_proven_the_same(
    weights: list[int], total: int, data: st.DataObject
) -> None:
    zero, digest = Root(bytes(32)), Digest(bytes(32))
    entries = [
        Entry(address(place), weight, zero, digest, bytes(65)).pack()
        for place, weight in enumerate(weights)
    ]
    record = Record(entries_root(entries), zero, digest, zero, len(entries), total)
    closing = Closing(record, ZERO_ADDRESS, 1)
    place = data.draw(st.integers(0, len(entries) - 1))
    earning = Earning(1, closing, entry_leaf(entries, place)).abi()
    assert mirror()("weightOf", record.abi(), address(place), earning) == weights[place]
    elsewhere = (*earning[:3], place + 1, earning[4])
    for site, shown in ((address(place + 1), earning), (address(place), elsewhere)):
        refusal = mirror().refusal("weightOf", record.abi(), site, shown)
        assert refusal is not None
        assert refusal.name == "WardRound_EntryNotIncluded"


def address(place: int) -> SiteAddress:
    return address_of("0x" + (place + 1).to_bytes(20, "big").hex())
