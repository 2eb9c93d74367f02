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
    mean_floor,
    median_floor,
    new_model,
    sum_exact,
    trimmed_mean_floor,
)

SHARED = json.loads((Path(__file__).parents[1] / "vectors" / "rules.json").read_text())
CASES, SUMS = SHARED["vectors"], SHARED["sums"]


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


int32 = st.integers(-(2**31), 2**31 - 1)


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
    source = np.random.default_rng(1)
    dtype = np.int64 if rule_id is RuleId.SUM else np.int32
    updates = [source.integers(1 - 2**31, 2**31, 150_001).astype(dtype) for _ in range(3)]
    rule = Rule(rule_id, 1 if rule_id is RuleId.TRIMMED_MEAN else 0)
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
