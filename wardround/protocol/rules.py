"""Aggregation rules, coordinate by coordinate, on integers.

Floor is toward minus infinity everywhere. Sums are exact in int64: weights add up to less than
2**31 and coordinates are int32; the rule ``sum`` has no weights, and its bound is below 2**31. The
contract's library computes the same numbers for one
coordinate, from the same test vectors. What two of the rules take from whole vectors, norms and
distances, a round commits to (`wardround.protocol.commitments`), so that it can be shown too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isqrt

import numpy as np
import numpy.typing as npt

from wardround.protocol.contribution import WEIGHT_LIMIT
from wardround.protocol.errors import (
    Malformed,
    beyond_sum,
    nothing_to_aggregate,
    shape_mismatch,
    weight_invalid,
)
from wardround.protocol.fixed_point import (
    BLOCK,
    INT32_MAX,
    Int32Vector,
    Int64Vector,
    IntVector,
    add_exact,
    largest_magnitude,
)
from wardround.protocol.record import RuleId
from wardround.protocol.sum_tree import distance_exact, dot_exact

#: A clip factor of one: factors are in 65536ths.
CLIP_ONE = 1 << 16
#: Distances between updates, by their places in the round, the first below the second.
Distances = Mapping[tuple[int, int], int]


@dataclass(frozen=True)
class Rule:
    """A rule and its argument: how many to trim at each end, or may be hostile, else 0.

    ``bound`` is the study's update bound in fixed point. It is a part of the rule ``sum`` alone: no
    sum has a contribution beyond it.
    """

    id: RuleId
    argument: int = 0
    bound: int = INT32_MAX

    @property
    def name(self) -> str:
        """The word used in study files and manifests."""
        return self.id.name.lower()

    @property
    def streams(self) -> bool:
        """Whether updates can be summed as they arrive, in memory O(model)."""
        return self.id is RuleId.MEAN


def aggregate(rule: Rule, updates: Sequence[IntVector], weights: Sequence[int]) -> IntVector:
    """Aggregate updates by a rule.

    Args:
        rule: the study's rule.
        updates: int32 arrays of shape (P,), one per site, at least one; int64 for ``sum``. Memory
            maps are read block by block, so they need not fit in memory.
        weights: examples used by each site, each >= 1, sum < 2**31. Only ``mean`` and
            ``clipped_mean`` use them.
    Returns:
        int32, of a sum int64, shape (P,). Exact: the order of sites does not matter, except to
        ``multi_krum`` where two are equally far from the others.
    Raises:
        ProtocolError: no updates; an update whose length differs from the first; a weight below
            one, or a sum too large.
        OutOfRange: a coordinate beyond the bound of a sum; carries it.
        Malformed: fewer updates than a trimmed mean or ``multi_krum`` needs.
    """
    if rule.id is RuleId.SUM:
        return sum_exact(updates, rule.bound)
    if rule.id is RuleId.MEAN:
        return mean_floor(updates, weights)
    if rule.id is RuleId.MEDIAN:
        return median_floor(updates)
    if rule.id is RuleId.CLIPPED_MEAN:
        return clipped_mean_floor(updates, weights)
    if rule.id is RuleId.MULTI_KRUM:
        return multi_krum_floor(updates, rule.argument)
    return trimmed_mean_floor(updates, rule.argument)


def new_model(rule: Rule, base: IntVector, change: IntVector) -> IntVector:
    """Give the model that a round leaves: base plus aggregate, or of a sum the aggregate alone.

    Args:
        rule: the study's.
        base: the model before, int32, of a sum int64, shape (P,).
        change: what `aggregate` gave, of the same type and shape.
    Raises:
        ProtocolError: the vectors differ in length.
        OutOfRange: a coordinate leaves int32; carries it.
    """
    if rule.id is not RuleId.SUM:
        return add_exact(base, change)
    if base.shape != change.shape:
        raise shape_mismatch("aggregate", base.size, change.size)
    return change


def mean_floor(updates: Sequence[IntVector], weights: Sequence[int]) -> Int32Vector:
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

    def add(self, update: IntVector, weight: int, clip_factor: int = CLIP_ONE) -> None:
        """Add one site's update.

        Args:
            update: int32, shape (P,); not kept.
            weight: >= 1; all together < 2**31.
            clip_factor: what it is scaled by before, in 65536ths, 0 .. 65536; rounding down.
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
            if clip_factor == CLIP_ONE:
                np.multiply(update[start : start + BLOCK], factor, out=part)
            else:
                np.multiply(update[start : start + BLOCK], np.int64(clip_factor), out=part)
                part >>= 16
                part *= factor
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


def sum_exact(updates: Sequence[IntVector], bound: int) -> Int64Vector:
    """Add up counts, unweighted.

    Args:
        updates: int64 arrays of shape (P,), one per site, at least one.
        bound: the largest magnitude of a coordinate, < 2**31. There are fewer than 2**32 sites, so
            a sum of theirs is below 2**63 and never wraps.
    Returns:
        int64, shape (P,).
    Raises:
        ProtocolError: no updates; an update whose length differs from the first.
        OutOfRange: a coordinate exceeds the bound; carries it.
    """
    _checked_count(updates)
    result = np.zeros(updates[0].shape, np.int64)
    for start in range(0, result.size, BLOCK):
        sums = result[start : start + BLOCK]
        for update in updates:
            part = update[start : start + BLOCK]
            if largest_magnitude(part) > bound:
                at = int(np.argmax((part > bound) | (part < -bound)))
                raise beyond_sum(start + at, int(part[at]), bound)
            sums += part
    return result


def median_floor(updates: Sequence[IntVector]) -> Int32Vector:
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


def trimmed_mean_floor(updates: Sequence[IntVector], trim: int) -> Int32Vector:
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


def clip_factors(norms: Sequence[int]) -> list[int]:
    """What each update is scaled by so that none is longer than the median one, in 65536ths.

    Args:
        norms: exact ``|q_k|**2``, at least one; of an even count the lower middle one counts.
    Returns:
        65536 for updates that are left as they are, less for the others, rounded down.
    """
    median = sorted(norms)[(len(norms) - 1) // 2]
    return [CLIP_ONE if norm <= median else isqrt((median << 32) // norm) for norm in norms]


def clipped_mean_floor(updates: Sequence[IntVector], weights: Sequence[int]) -> Int32Vector:
    """Average site updates, weighted by examples, none longer than the median of them.

    Args:
        updates: int32 arrays of shape (P,), one per site, at least one.
        weights: examples used by each site, each >= 1, sum < 2**31.
    Returns:
        int32, shape (P,): ``floor(sum(w_k r_k) / sum(w_k))`` of ``r_k = floor(c_k q_k / 65536)``
        with the factors of `clip_factors`.
    Raises:
        ProtocolError: as `mean_floor`.
    Source:
        Allouah et al. 2024, adaptive robust clipping (arXiv:2405.14432) for half of the updates,
        in fixed point; the mean after it is weighted.
    """
    _checked_count(updates)
    factors = clip_factors([dot_exact(update, update) for update in updates])
    running = RunningMean(updates[0].size)
    for update, weight, factor in zip(updates, weights, factors, strict=True):
        running.add(update, weight, factor)
    return running.finish()


def distances_exact(updates: Sequence[IntVector]) -> dict[tuple[int, int], int]:
    """Square distances ``|q_i - q_j|**2`` of all pairs ``i < j``, in lexicographic order."""
    pairs = combinations(range(len(updates)), 2)
    return {(i, j): distance_exact(updates[i], updates[j]) for i, j in pairs}


def krum_ranks(distances: Distances, count: int, hostile: int) -> list[int]:
    """How far each of so many updates is from the ``count - hostile - 1`` nearest others.

    Args:
        distances: of all pairs.
        count: n, the number of updates.
        hostile: f, how many may be bad, >= 0; ``2 * hostile < count``.
    Returns:
        The sum of square distances of each.
    """
    kept = count - hostile - 1
    return [
        sum(sorted(distances[min(i, j), max(i, j)] for j in range(count) if j != i)[:kept])
        for i in range(count)
    ]


def krum_selected(ranks: Sequence[int], hostile: int) -> list[int]:
    """Places of all but so many updates, those of the lowest rank, ascending; the earlier first."""
    ordered = sorted(range(len(ranks)), key=lambda place: (ranks[place], place))
    return sorted(ordered[: len(ranks) - hostile])


def multi_krum_floor(updates: Sequence[IntVector], hostile: int) -> Int32Vector:
    """Average the updates that are nearest to the others, unweighted.

    Args:
        updates: int32 arrays of shape (P,), one per site, more than ``2 * hostile``.
        hostile: f, how many may be bad, >= 0: so many are left out.
    Returns:
        int32, shape (P,), floor of the mean of what is left.
    Raises:
        ProtocolError: no updates; an update whose length differs from the first.
        Malformed: not more than ``2 * hostile`` updates.
    Source:
        Blanchard et al. 2017 (arXiv:1703.02757), with the n - f nearest, itself included, of
        ByzFL's MultiKrum, in fixed point.
    """
    count = _checked_count(updates)
    if hostile < 0 or count <= 2 * hostile:
        raise Malformed("round", f"of {count} updates {hostile} cannot be left out: a minority can")
    selected = krum_selected(krum_ranks(distances_exact(updates), count, hostile), hostile)
    result = np.empty(updates[0].shape, np.int32)
    for start in range(0, result.size, BLOCK):
        block = slice(start, start + BLOCK)
        total = np.zeros(result[block].shape, np.int64)
        for place in selected:
            total += updates[place][block]
        result[block] = total // len(selected)
    return result


def _checked_count(updates: Sequence[IntVector]) -> int:
    if not updates:
        raise nothing_to_aggregate()
    for update in updates:
        if update.shape != updates[0].shape:
            raise shape_mismatch("update", updates[0].size, update.size)
    return len(updates)


def _ordered_blocks(updates: Sequence[IntVector]) -> Iterator[tuple[slice, Int32Vector]]:
    """Yield blocks of coordinates with the sites' values ascending, shape (block, sites)."""
    step = max(1, 4 * BLOCK // len(updates))
    for start in range(0, updates[0].size, step):
        block = slice(start, start + step)
        values: Int32Vector = np.stack([update[block] for update in updates], axis=1)
        values.sort(axis=1)
        yield block, values
