from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import make
from wardround.protocol.errors import Malformed, OutOfRange, ProtocolError
from wardround.protocol.record import RuleId
from wardround.protocol.rules import (
    Rule,
    RunningMean,
    aggregate,
    clip_factors,
    clipped_mean_floor,
    distances_exact,
    krum_ranks,
    mean_floor,
    median_floor,
    multi_krum_floor,
    new_model,
    sum_exact,
    trimmed_mean_floor,
)

SHARED = json.loads((Path(__file__).parents[1] / "vectors" / "rules.json").read_text())
CASES, SUMS, WHOLE = SHARED["vectors"], SHARED["sums"], SHARED["whole"]
BYZFL = json.loads((Path(__file__).parents[1] / "vectors" / "byzfl.json").read_text())


int32 = st.integers(-(2**31), 2**31 - 1)


def columns(values: list[int]) -> list[np.ndarray]:
    return [np.array([value], np.int32) for value in values]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_rules_match_the_shared_vectors(case: dict) -> None:
    updates = columns(case["values"])
    assert mean_floor(updates, case["weights"])[0] == case["mean"]
    assert median_floor(updates)[0] == case["median"]
    assert trimmed_mean_floor(updates, case["trim"])[0] == case["trimmed_mean"]


@pytest.mark.parametrize("case", SUMS, ids=range(len(SUMS)))
def test_sums_match_the_shared_vectors(case: dict) -> None:
    updates = [np.array([value], np.int64) for value in case["values"]]
    if "sum" in case:
        assert sum_exact(updates, case["bound"]).tolist() == [case["sum"]]
    else:
        with pytest.raises(OutOfRange):
            sum_exact(updates, case["bound"])


@pytest.mark.parametrize("case", WHOLE, ids=range(len(WHOLE)))
def test_rules_of_whole_vectors_match_the_shared_vectors(case: dict) -> None:
    updates = [np.array(values, np.int32) for values in case["updates"]]
    assert clip_factors([int(norm) for norm in case["norms"]]) == case["clip_factors"]
    assert clipped_mean_floor(updates, case["weights"]).tolist() == case["clipped_mean"]
    pairs = distances_exact(updates)
    assert [str(pair) for pair in pairs.values()] == case["distances"]
    found = krum_ranks(pairs, len(updates), case["hostile"])
    assert [str(rank) for rank in found] == case["ranks"]
    assert multi_krum_floor(updates, case["hostile"]).tolist() == case["multi_krum"]


def in_fixed_point(rows: list[list[float]]) -> list[np.ndarray]:
    return [np.rint(np.array(row) * 2**20).astype(np.int32) for row in rows]


@pytest.mark.parametrize("case", BYZFL["multi_krum"], ids=lambda case: case["source"])
def test_multi_krum_is_that_of_byzfl(case: dict) -> None:
    found = multi_krum_floor(in_fixed_point(case["vectors"]), case["f"]) * 2.0**-20
    np.testing.assert_allclose(found, case["result"], atol=2e-6)


@pytest.mark.parametrize("case", BYZFL["clipping"], ids=lambda case: case["source"])
def test_clip_factors_are_those_of_byzfl_where_it_clips_to_the_median(case: dict) -> None:
    """ByzFL clips and leaves averaging to another rule, so single clipped updates are compared.

    Its `ARC` takes as threshold the norm that leaves out a number of updates which follows from
    f: for f = floor(n / 2) that is the lower median, the threshold of ``clipped_mean``. Its
    `Clipping` has a given threshold, which here is the median norm.
    """
    updates = in_fixed_point(case["vectors"])
    factors = clip_factors([int(np.sum(u.astype(object) ** 2)) for u in updates])
    for update, factor, result in zip(updates, factors, case["result"], strict=True):
        found = (update.astype(np.int64) * factor >> 16) * 2.0**-20
        # A factor is rounded down to a 65536th, a product to a unit of the fixed point.
        longest = np.abs(update).max() * 2.0**-20
        np.testing.assert_allclose(found, result, atol=longest * 2.0**-16 + 2e-6)


@given(st.data())
def test_whole_vector_rules_match_exact_integers(data: st.DataObject) -> None:
    size, count = (
        data.draw(st.sampled_from([1, 3, 255, 256, 257, 600])),
        data.draw(st.integers(1, 5)),
    )
    edge = st.sampled_from([-(2**31), 2**31 - 1, 0, -1])
    some = data.draw(st.lists(st.one_of(int32, edge), min_size=1, max_size=7))
    # Few drawn numbers, repeated at another pace in each update, fill whole chunks.
    rows = [[some[(at * (k + 1) + k) % len(some)] for at in range(size)] for k in range(count)]
    weights = data.draw(st.lists(st.integers(1, 2**28), min_size=count, max_size=count))
    hostile = data.draw(st.integers(0, (count - 1) // 2))
    updates = [np.array(row, np.int32) for row in rows]
    found = aggregate(Rule(RuleId.CLIPPED_MEAN), updates, weights).tolist()
    assert found == make.clipped_mean(rows, weights)
    found = aggregate(Rule(RuleId.MULTI_KRUM, hostile), updates, weights).tolist()
    assert found == make.multi_krum(rows, hostile)


def test_clipped_mean_when_one_update_is_huge_is_moved_no_further_than_the_median() -> None:
    updates = [np.array(row, np.int32) for row in ([3, 4], [-4, 3], [2**31 - 1, 0])]
    assert clip_factors([25, 25, (2**31 - 1) ** 2]) == [65536, 65536, 0]
    assert clipped_mean_floor(updates, [1, 1, 1]).tolist() == [-1, 2]
    updates[2] = np.array([300, 400], np.int32)
    assert clip_factors([25, 25, 250_000]) == [65536, 65536, 655]
    assert clipped_mean_floor(updates, [1, 1, 1]).tolist() == [0, 3]
    zero = [np.zeros(2, np.int32)] * 2
    assert clipped_mean_floor([*zero, updates[2]], [1, 1, 1]).tolist() == [0, 0]


def test_multi_krum_when_two_are_equally_far_takes_the_earlier() -> None:
    updates = [np.array([value], np.int32) for value in (1, 4, 7)]
    assert krum_ranks(distances_exact(updates), 3, 1) == [9, 9, 9]
    assert multi_krum_floor(updates, 1).tolist() == [2]
    assert multi_krum_floor(updates[::-1], 1).tolist() == [5]


@pytest.mark.parametrize(("count", "hostile"), [(2, 1), (4, 2), (3, -1)])
def test_multi_krum_needs_an_honest_majority(count: int, hostile: int) -> None:
    with pytest.raises(Malformed):
        multi_krum_floor([np.ones(1, np.int32)] * count, hostile)


@given(st.data())
def test_sum_is_exact_in_any_order_within_the_bound(data: st.DataObject) -> None:
    bound = data.draw(st.integers(1, 2**31 - 1))
    size = data.draw(st.integers(1, 6))
    row = st.lists(st.integers(-bound, bound), min_size=size, max_size=size)
    rows = data.draw(st.lists(row, min_size=1, max_size=9))
    weights = data.draw(st.lists(st.integers(1, 100), min_size=len(rows), max_size=len(rows)))
    rule, base = Rule(RuleId.SUM, bound=bound), np.full(size, 7, np.int64)
    updates = [np.array(rows[k], np.int64) for k in data.draw(st.permutations(range(len(rows))))]
    found = aggregate(rule, updates, weights)
    assert found.tolist() == [sum(row[i] for row in rows) for i in range(size)]
    assert new_model(rule, base, found).tolist() == found.tolist()
    beyond, place = (
        data.draw(st.integers(bound + 1, 2**63 - 1)),
        data.draw(st.integers(0, size - 1)),
    )
    updates[-1][place] = data.draw(st.sampled_from([beyond, -beyond, -beyond - 1]))
    with pytest.raises(OutOfRange) as caught:
        aggregate(rule, updates, weights)
    assert caught.value.index == place


def test_sum_does_not_wrap_where_it_is_longest() -> None:
    most = 2**31 - 1
    updates = [np.array([most, -most], np.int64)] * 5
    assert sum_exact(updates, most).tolist() == [5 * most, -5 * most]
    # The most sites that a record counts, each with the largest bound.
    assert (2**32 - 1) * most < 2**63


def test_hand_checked_numbers() -> None:
    updates = [np.array([1, -1, 7], np.int32), np.array([2, -2, -8], np.int32)]
    assert mean_floor(updates, [1, 1]).tolist() == [1, -2, -1]
    assert mean_floor(updates, [3, 1]).tolist() == [1, -2, 3]
    assert median_floor(updates).tolist() == [1, -2, -1]
    assert trimmed_mean_floor([*updates, np.array([9, 9, 9], np.int32)], 1).tolist() == [2, -1, 7]


@given(st.data())
def test_rules_match_exact_fractions_in_any_order(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    size = data.draw(st.integers(1, 6))
    rows = data.draw(
        st.lists(st.lists(int32, min_size=size, max_size=size), min_size=count, max_size=count)
    )
    share = (2**31 - 1) // count
    weights = data.draw(st.lists(st.integers(1, share), min_size=count, max_size=count))
    trim = data.draw(st.integers(0, (count - 1) // 2))
    order = data.draw(st.permutations(range(count)))
    updates = [np.array(rows[k], np.int32) for k in order]
    shuffled = [weights[k] for k in order]
    found = {
        RuleId.MEAN: [make.mean([row[i] for row in rows], weights) for i in range(size)],
        RuleId.MEDIAN: [make.median([row[i] for row in rows]) for i in range(size)],
        RuleId.TRIMMED_MEAN: [
            make.trimmed_mean([row[i] for row in rows], trim) for i in range(size)
        ],
    }
    for rule_id, expected in found.items():
        argument = trim if rule_id is RuleId.TRIMMED_MEAN else 0
        assert aggregate(Rule(rule_id, argument), updates, shuffled).tolist() == expected


@pytest.mark.parametrize("rule_id", RuleId)
def test_rules_agree_across_block_edges(rule_id: RuleId) -> None:
    """A whole vector in one part, so those that measure it are given one that is mostly zero."""
    source = np.random.default_rng(1)
    dtype = np.int64 if rule_id is RuleId.SUM else np.int32
    updates = [source.integers(1 - 2**31, 2**31, 150_001).astype(dtype) for _ in range(3)]
    rule = Rule(rule_id, 1 if rule_id is RuleId.TRIMMED_MEAN else 0)
    if rule_id in (RuleId.CLIPPED_MEAN, RuleId.MULTI_KRUM):
        for update in updates:
            update[2:65_535], update[65_537:] = 0, 0
        short = aggregate(rule, [np.append(u[:2], u[65_535:65_537]) for u in updates], [1, 2, 3])
        whole = aggregate(rule, updates, [1, 2, 3])
        assert np.append(whole[:2], whole[65_535:65_537]).tolist() == short.tolist()
        return
    whole = aggregate(rule, updates, [1, 2, 3])
    for start in (0, 65_535, 131_071, 150_000):
        part = aggregate(rule, [u[start : start + 2] for u in updates], [1, 2, 3])
        assert (whole[start : start + 2] == part).all()


def test_empty_rounds_are_named() -> None:
    with pytest.raises(ProtocolError):
        mean_floor([], [])
    with pytest.raises(ProtocolError):
        median_floor([])
    with pytest.raises(ProtocolError):
        RunningMean(3).finish()


def test_shapes_must_agree() -> None:
    odd = [np.zeros(2, np.int32), np.zeros(3, np.int32)]
    for rule_id in RuleId:
        with pytest.raises(ProtocolError):
            aggregate(Rule(rule_id), odd, [1, 1])


@pytest.mark.parametrize("weights", [[0], [-1], [2**31], [2**31 - 1, 1]])
def test_weights_out_of_range_are_refused(weights: list[int]) -> None:
    with pytest.raises(ProtocolError):
        mean_floor([np.ones(1, np.int32)] * len(weights), weights)


def test_too_few_to_trim() -> None:
    with pytest.raises(Malformed):
        trimmed_mean_floor(columns([1, 2]), 1)
