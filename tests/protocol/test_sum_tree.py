from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import scores as slow
from wardround.protocol.errors import ProtocolError
from wardround.protocol.sum_tree import SumTree, distance_exact, dot_exact

edges = st.sampled_from([-(2**31), 2**31 - 1, -1, 0, 1])
int32 = st.one_of(st.integers(-(2**31), 2**31 - 1), edges)
wide = st.one_of(st.integers(1 - 2**32, 2**32 - 1), st.sampled_from([1 - 2**32, 2**32 - 1]), int32)
SIZES = [1, 255, 256, 257, 8192, 8193, 65_535, 65_537]


def stretched(some: list[int], size: int, pace: int) -> list[int]:
    return [some[at * pace % len(some)] for at in range(size)]


@given(st.sampled_from(SIZES), st.lists(int32, min_size=1, max_size=9), st.data())
def test_tree_is_that_of_python_s_integers(size: int, some: list[int], data: st.DataObject) -> None:
    one = stretched(some, size, 1)
    other = stretched(data.draw(st.lists(wide, min_size=1, max_size=7)), size, 2)
    expected = slow.SumTree([a * b for a, b in zip(one, other, strict=True)])
    ones, others = np.array(one, np.int32), np.array(other, np.int64)
    found = SumTree.of_products(ones, others)
    assert (found.total, found.root) == (expected.total, expected.root)
    assert found.data == b"".join(expected.pages)
    assert dot_exact(ones, others) == expected.total


@given(st.sampled_from(SIZES), st.lists(int32, min_size=1, max_size=9), st.data())
def test_distances_are_those_of_python_s_integers(
    size: int, some: list[int], data: st.DataObject
) -> None:
    one = stretched(some, size, 1)
    other = stretched(data.draw(st.lists(int32, min_size=1, max_size=7)), size, 2)
    expected = slow.SumTree([(a - b) ** 2 for a, b in zip(one, other, strict=True)])
    vectors = np.array(one, np.int32), np.array(other, np.int32)
    found = SumTree.of_distances(*vectors)
    assert (found.total, found.root) == (expected.total, expected.root)
    assert distance_exact(*vectors) == distance_exact(*vectors[::-1]) == expected.total


def test_total_when_it_exceeds_64_bits_by_far_is_exact() -> None:
    lowest, highest = np.full(1 << 20, -(2**31), np.int32), np.full(1 << 20, 2**31 - 1, np.int32)
    assert dot_exact(lowest, lowest) == 2**82
    assert dot_exact(lowest, highest) == -(2**51) * (2**31 - 1)
    assert distance_exact(lowest, highest) == 2**20 * (2**32 - 1) ** 2
    assert SumTree.of_products(lowest, lowest).total == 2**82


def test_vectors_of_two_lengths_are_refused() -> None:
    with pytest.raises(ProtocolError):
        dot_exact(np.zeros(2, np.int32), np.zeros(3, np.int32))
