from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wardround.protocol.errors import ProtocolError
from wardround.protocol.scoring import ALIGNMENT_ONE, alignment_scores, exact_dot

vectors = arrays(np.int32, 40, elements=st.integers(-(2**31), 2**31 - 1))
small = arrays(np.int32, 40, elements=st.integers(-1000, 1000))


@given(st.one_of(vectors, small), st.one_of(vectors, small))
def test_dot_is_exact(a: np.ndarray, b: np.ndarray) -> None:
    expected = sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))
    assert exact_dot(a, b) == expected


def test_dot_is_exact_at_the_extremes_over_several_blocks() -> None:
    size = (1 << 21) + 3
    low, high = np.full(size, -(2**31), np.int32), np.full(size, 2**31 - 1, np.int32)
    assert exact_dot(low, low) == size * 2**62
    assert exact_dot(low, high) == -size * 2**31 * (2**31 - 1)


@given(small, small)
def test_scores_are_the_cosine_in_parts_per_million(a: np.ndarray, b: np.ndarray) -> None:
    (score,) = alignment_scores([a], b)
    x, y = a.astype(float), b.astype(float)
    norm = sqrt((x @ x) * (y @ y))
    cosine = max(0.0, (x @ y) / norm) if norm else 0.0
    assert 0 <= score <= ALIGNMENT_ONE
    assert abs(score - cosine * ALIGNMENT_ONE) <= 1


def test_same_direction_scores_one_and_opposite_nothing() -> None:
    vector = np.array([3, -4, 5], np.int32)
    assert alignment_scores([vector, 2 * vector, -vector, 0 * vector], vector) == [
        ALIGNMENT_ONE,
        ALIGNMENT_ONE,
        0,
        0,
    ]


def test_lengths_must_agree() -> None:
    with pytest.raises(ProtocolError):
        alignment_scores([np.zeros(2, np.int32)], np.zeros(3, np.int32))
