"""Weights, headroom of sums, and resolution of updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.masking import VECTORS
from tests.vectors import masking as slow
from wardround.protocol.errors import Malformed, ProtocolError
from wardround.protocol.masking.weights import (
    check_headroom,
    check_resolution,
    check_weight,
    masked_weight,
)

INT32 = st.integers(-(2**31), 2**31 - 1)


@pytest.mark.parametrize("vector", VECTORS["weights"])
def test_weights_are_those_of_the_vectors(vector: dict[str, Any]) -> None:
    terms = vector["examples"], vector["cap"], vector["examples_per_weight"]
    if vector["weight"] is None:
        with pytest.raises(ProtocolError, match="lower examples_per_weight"):
            masked_weight(*terms)
    else:
        assert masked_weight(*terms) == vector["weight"]
        check_weight(vector["weight"], vector["cap"])


@given(st.integers(0, 10**7), st.integers(1, 2**40), st.integers(1, 10**6))
def test_weight_is_the_slow_one(examples: int, cap: int, divisor: int) -> None:
    expected = slow.weight(examples, cap, divisor)
    try:
        assert masked_weight(examples, cap, divisor) == expected
    except ProtocolError:
        assert expected is None


def test_terms_that_give_no_weight_are_refused() -> None:
    with pytest.raises(Malformed, match="examples_per_weight"):
        masked_weight(10, 10, 0)
    with pytest.raises(ProtocolError, match="cap"):
        masked_weight(10, 0, 1)


@pytest.mark.parametrize(("weight", "cap"), [(0, 64), (-1, 64), (65, 1000), (6, 5)])
def test_weights_out_of_range_are_refused(weight: int, cap: int) -> None:
    with pytest.raises(ProtocolError, match="weight of a masked contribution"):
        check_weight(weight, cap)


def test_headroom_ends_where_a_sum_can_reach_the_limit() -> None:
    check_headroom(2**31 - 1, 2**25)
    check_headroom(2**30, 2**26 - 1)
    for bound, sites in ((2**31 - 1, 2**25 + 1), (2**30, 2**26), (1, 2**56)):
        with pytest.raises(ProtocolError, match="lower update_bound"):
            check_headroom(bound, sites)


@given(st.integers(1, 2**31 - 1), st.integers(1, 2**40))
def test_admitted_studies_stay_below_the_limit(bound: int, sites: int) -> None:
    try:
        check_headroom(bound, sites)
    except ProtocolError:
        assert bound * 64 * sites >= 2**62
    else:
        assert bound * 64 * sites < 2**62


def is_fine(update: list[int]) -> bool:
    try:
        check_resolution(np.array(update, np.int32))
    except ProtocolError:
        return False
    return True


@pytest.mark.parametrize("vector", VECTORS["resolutions"])
def test_resolution_is_judged_as_in_the_vectors(vector: dict[str, Any]) -> None:
    assert is_fine(vector["update"]) == vector["fine"]


@given(st.lists(st.one_of(st.integers(-4097, 4097), st.sampled_from([0, 4095, 4096]), INT32)))
def test_resolution_is_the_median_of_what_moves(update: list[int]) -> None:
    assert is_fine(update) == slow.is_fine(update)


def test_resolution_is_read_in_all_blocks() -> None:
    update = np.zeros(200_001, np.int32)
    update[::2] = -5000
    check_resolution(update)
    update[1::2] = 4095
    check_resolution(update)
    update[0] = 1
    with pytest.raises(ProtocolError, match=r"100001 of 200001 .* more scale_bits"):
        check_resolution(update)
