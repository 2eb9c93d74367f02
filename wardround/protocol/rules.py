"""Aggregation rules, coordinate by coordinate, on integers.

Floor is toward minus infinity everywhere. Sums are exact in int64: weights add up to less than
2**31 and coordinates are int32. The contract's library computes the same numbers for one
coordinate, from the same test vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardround.protocol.contribution import WEIGHT_LIMIT
from wardround.protocol.errors import (
    Malformed,
    nothing_to_aggregate,
    shape_mismatch,
    weight_invalid,
)
from wardround.protocol.fixed_point import BLOCK, Int32Vector
from wardround.protocol.record import RuleId


@dataclass(frozen=True)
class Rule:
    """A rule and its argument: how many to trim at each end, else 0."""

    id: RuleId
    argument: int = 0

    @property
    def name(self) -> str:
        """The word used in study files and manifests."""
        return self.id.name.lower()

    @property
    def streams(self) -> bool:
        """Whether updates can be summed as they arrive, in memory O(model)."""
        return self.id is RuleId.MEAN


def aggregate(rule: Rule, updates: Sequence[Int32Vector], weights: Sequence[int]) -> Int32Vector:
    """Aggregate updates by a rule.

    Args:
        rule: the study's rule.
        updates: int32 arrays of shape (P,), one per site, at least one; memory maps are read
            block by block, so they need not fit in memory.
        weights: examples used by each site, each >= 1, sum < 2**31. Only ``mean`` uses them.
    Returns:
        int32, shape (P,). Exact: the order of sites does not matter.
    Raises:
        ProtocolError: no updates; an update whose length differs from the first; a weight below
            one, or a sum too large.
        Malformed: fewer updates than a trimmed mean needs.
    """
    if rule.id is RuleId.MEAN:
        return mean_floor(updates, weights)
    if rule.id is RuleId.MEDIAN:
        return median_floor(updates)
    return trimmed_mean_floor(updates, rule.argument)


def mean_floor(updates: Sequence[Int32Vector], weights: Sequence[int]) -> Int32Vector:
    """Average site updates, weighted by examples, rounding down.

    Args:
        updates: int32 arrays of shape (P,), one per site, at least one.
        weights: examples used by each site, each >= 1, sum < 2**31.
    Returns:
        int32, shape (P,): ``floor(sum(w_k q_k) / sum(w_k))``.
    Raises:
        ProtocolError: no updates; an update whose length differs from the first; a weight below
            one, or a sum too large.
    Source:
        McMahan et al. 2017, Algorithm 1 (arXiv:1602.05629), in fixed point.
    """
    if not updates:
        raise nothing_to_aggregate()
    running = RunningMean(updates[0].size)
    for update, weight in zip(updates, weights, strict=True):
        running.add(update, weight)
    return running.finish()


class RunningMean:
    """The weighted mean of updates that arrive one at a time, in memory O(model).

    Deliberately mutable: one accumulator of int64, shape (P,), lives as long as its round.
    """

    def __init__(self, parameter_count: int) -> None:
        """Start an empty sum over ``parameter_count`` coordinates."""
        self._sum: npt.NDArray[np.int64] = np.zeros(parameter_count, np.int64)
        self._weight = 0

    def add(self, update: Int32Vector, weight: int) -> None:
        """Add one site's update.

        Args:
            update: int32, shape (P,); not kept.
            weight: >= 1; all together < 2**31.
        Raises:
            ProtocolError: another length; the weight or the new sum is out of range; nothing was
                added.
        """
        if update.shape != self._sum.shape:
            raise shape_mismatch("update", self._sum.size, update.size)
        if weight < 1 or self._weight + weight >= WEIGHT_LIMIT:
            raise weight_invalid("weight", weight, WEIGHT_LIMIT - 1 - self._weight)
        product = np.empty(min(BLOCK, update.size), np.int64)
        factor = np.int64(weight)
        for start in range(0, update.size, BLOCK):
            sums = self._sum[start : start + BLOCK]
            part = product[: sums.size]
            np.multiply(update[start : start + BLOCK], factor, out=part)
            sums += part
        self._weight += weight

    def finish(self) -> Int32Vector:
        """Return ``floor(sum(w_k q_k) / sum(w_k))``, int32, shape (P,).

        Raises:
            ProtocolError: nothing was added.
        """
        if not self._weight:
            raise nothing_to_aggregate()
        mean = np.empty(self._sum.shape, np.int32)
        for start in range(0, mean.size, BLOCK):
            block = slice(start, start + BLOCK)
            # A weighted mean of int32 values lies between them, so it fits.
            mean[block] = self._sum[block] // np.int64(self._weight)
        return mean


def median_floor(updates: Sequence[Int32Vector]) -> Int32Vector:
    """Take the median of each coordinate; of an even count, the floor of the middle two's mean.

    Args:
        updates: int32 arrays of shape (P,), one per site, at least one.
    Returns:
        int32, shape (P,).
    Raises:
        ProtocolError: no updates; an update whose length differs from the first.
    Source:
        Yin et al. 2018, coordinate-wise median (arXiv:1803.01498), in fixed point.
    """
    count = _checked_count(updates)
    low, high = (count - 1) // 2, count // 2
    result = np.empty(updates[0].shape, np.int32)
    for block, ordered in _ordered_blocks(updates):
        result[block] = (ordered[:, low].astype(np.int64) + ordered[:, high]) >> 1
    return result


def trimmed_mean_floor(updates: Sequence[Int32Vector], trim: int) -> Int32Vector:
    """Average each coordinate after leaving out the lowest and highest values, unweighted.

    Args:
        updates: int32 arrays of shape (P,), one per site, more than ``2 * trim``.
        trim: how many to leave out at each end, >= 0.
    Returns:
        int32, shape (P,), floor of the mean of what is left.
    Raises:
        ProtocolError: no updates; an update whose length differs from the first.
        Malformed: not more than ``2 * trim`` updates.
    Source:
        Yin et al. 2018, coordinate-wise trimmed mean (arXiv:1803.01498), in fixed point.
    """
    count = _checked_count(updates)
    if trim < 0 or count <= 2 * trim:
        raise Malformed("round", f"{count} updates cannot be trimmed by {trim} at each end")
    kept = count - 2 * trim
    result = np.empty(updates[0].shape, np.int32)
    for block, ordered in _ordered_blocks(updates):
        result[block] = ordered[:, trim : trim + kept].sum(axis=1, dtype=np.int64) // kept
    return result


def _checked_count(updates: Sequence[Int32Vector]) -> int:
    if not updates:
        raise nothing_to_aggregate()
    for update in updates:
        if update.shape != updates[0].shape:
            raise shape_mismatch("update", updates[0].size, update.size)
    return len(updates)


def _ordered_blocks(updates: Sequence[Int32Vector]) -> Iterator[tuple[slice, Int32Vector]]:
    """Yield blocks of coordinates with the sites' values ascending, shape (block, sites)."""
    step = max(1, 4 * BLOCK // len(updates))
    for start in range(0, updates[0].size, step):
        block = slice(start, start + step)
        values = np.stack([update[block] for update in updates], axis=1)
        values.sort(axis=1)
        yield block, values
