"""What each contribution is worth, in integers, so that two machines never disagree."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from math import isqrt

import numpy as np
import numpy.typing as npt

from wardround.protocol.errors import shape_mismatch
from wardround.protocol.fixed_point import Int32Vector, largest_magnitude

#: An alignment of 1.0 as an integer: parts per million.
ALIGNMENT_ONE = 1_000_000
_EXACT = 2**53
#: Small enough that float64 copies stay in the cache and BLAS does not start threads for it.
_DOT_BLOCK = 1 << 13


class Scoring(StrEnum):
    """Scoring rules by the word used in study files and manifests."""

    EXAMPLES = "examples"
    ALIGNMENT = "alignment"


def alignment_scores(updates: Iterable[Int32Vector], aggregate: Int32Vector) -> list[int]:
    """Score each update by its cosine with the aggregate, in parts per million, floored at 0.

    A site whose update points away from what the others agree on earns nothing. Unlike the
    paper, there is no moving average over rounds and the model given back is the same for all.

    Args:
        updates: int32 arrays of shape (P,), one per site; each is read once.
        aggregate: int32, shape (P,).
    Returns:
        One integer per update, 0 .. 1_000_000: ``floor(10**6 * max(0, cos))``, computed from exact
        integer dot products; 0 where either vector is zero.
    Raises:
        ProtocolError: an update of another length.
    Source:
        Xu et al. 2021, "Gradient driven rewards to guarantee fairness in collaborative machine
        learning" (CGSV), equation 3.
    """
    aggregate_square = exact_dot(aggregate, aggregate)
    scores = []
    for update in updates:
        dot = exact_dot(update, aggregate)
        squares = exact_dot(update, update) * aggregate_square
        if dot <= 0 or squares == 0:
            scores.append(0)
        else:
            # floor(10**6 * dot / sqrt(squares)) without a float: both sides squared.
            scores.append(isqrt(ALIGNMENT_ONE**2 * dot * dot // squares))
    return scores


def exact_dot(left: Int32Vector, right: Int32Vector) -> int:
    """Dot product of two int32 vectors as an exact integer.

    Float64 products are exact while every partial sum stays below 2**53, whatever the order of
    the additions, so the fast path runs in BLAS. Larger values are split into 16-bit halves.

    Args:
        left: int32, shape (P,).
        right: int32, shape (P,).
    Raises:
        ProtocolError: the vectors differ in length.
    """
    if left.shape != right.shape:
        raise shape_mismatch("update", right.size, left.size)
    total = 0
    for start in range(0, left.size, _DOT_BLOCK):
        a, b = left[start : start + _DOT_BLOCK], right[start : start + _DOT_BLOCK]
        if largest_magnitude(a) * largest_magnitude(b) * a.size < _EXACT:
            a_float = a.astype(np.float64)
            b_float = a_float if right is left else b.astype(np.float64)
            total += int(np.dot(a_float, b_float))
            continue
        a_high, a_low = _halves(a)
        b_high, b_low = _halves(b)
        total += int(np.dot(a_high, b_high)) << 32
        total += (int(np.dot(a_high, b_low)) + int(np.dot(a_low, b_high))) << 16
        total += int(np.dot(a_low, b_low))
    return total


def _halves(vector: Int32Vector) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    # high is signed and low unsigned 16 bits: value == high * 2**16 + low; 2**20 products of
    # at most 2**32 stay below 2**53.
    return (vector >> 16).astype(np.float64), (vector & 0xFFFF).astype(np.float64)
