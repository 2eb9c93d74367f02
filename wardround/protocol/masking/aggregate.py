"""The weighted mean of masked updates: exact, in memory O(model), whatever arrives first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wardround.protocol.contribution import WEIGHT_LIMIT
from wardround.protocol.errors import (
    Malformed,
    OutOfRange,
    ProtocolError,
    nothing_to_aggregate,
    shape_mismatch,
    weight_invalid,
)
from wardround.protocol.fixed_point import BLOCK, INT32_MAX, Int32Vector, largest_magnitude
from wardround.protocol.masking.ratchet import SETS
from wardround.protocol.masking.streams import RingVector
from wardround.protocol.masking.weights import SUM_LIMIT, WEIGHT_MAX, check_weight


class MaskedMean:
    """The sum of masked updates as they arrive, less the masks of each set once they are opened.

    Deliberately mutable: one accumulator of uint64, shape (P,), lives as long as its round.
    """

    def __init__(self, parameter_count: int, update_bound: int) -> None:
        """Start an empty sum.

        Args:
            parameter_count: P.
            update_bound: largest magnitude of an update's coordinate, 1 .. 2^31 - 1.
        Raises:
            Malformed: another bound.
        """
        if not 1 <= update_bound <= INT32_MAX:
            raise Malformed("update bound", f"{update_bound} is not in 1 .. {INT32_MAX}")
        self._sum: RingVector = np.zeros(parameter_count, np.uint64)
        self._bound = update_bound
        self._weight = 0
        self._closed: set[int] = set(SETS)

    def add(self, masked: RingVector, weight: int) -> None:
        """Add one contribution of the cohort.

        Args:
            masked: uint64, shape (P,); not kept.
            weight: 1 .. 64.
        Raises:
            ProtocolError: another length; the weight or the new sum is out of range; nothing was
                added.
        """
        self._check_length(masked)
        check_weight(weight, WEIGHT_MAX)
        total = self._weight + weight
        if total >= WEIGHT_LIMIT or total * self._bound >= SUM_LIMIT:
            raise weight_invalid("total weight", total, min(WEIGHT_LIMIT, SUM_LIMIT // self._bound))
        product = np.empty(min(BLOCK, masked.size), np.uint64)
        for start in range(0, masked.size, BLOCK):
            sums = self._sum[start : start + BLOCK]
            part = product[: sums.size]
            np.multiply(masked[start : start + BLOCK], np.uint64(weight), out=part)
            sums += part
        self._weight = total

    def unmask(self, set_number: int, masks: RingVector) -> None:
        """Take away the masks of one set: what `mask_sum` gave its holders.

        Args:
            set_number: 0, 1 or 2, each once.
            masks: uint64, shape (P,); not kept.
        Raises:
            ProtocolError: another length.
            Malformed: no such set, or it was opened before.
        """
        self._check_length(masks)
        if set_number not in self._closed:
            raise Malformed(f"set {set_number}", "no such set, or its masks are taken away already")
        self._sum -= masks
        self._closed.remove(set_number)

    def finish(self) -> Int32Vector:
        """Return ``floor(sum(w_i q_i) / sum(w_i))``, int32, shape (P,).

        Raises:
            ProtocolError: nothing was added, or a set is not opened.
            OutOfRange: the sum leaves the bound, so the round closes void; carries the first such
                coordinate, which proves it.
        """
        if not self._weight:
            raise nothing_to_aggregate()
        if self._closed:
            raise ProtocolError(
                f"masks of set {min(self._closed)} are not taken away: wait for one of its holders."
            )
        mean = np.empty(self._sum.shape, np.int32)
        signed: npt.NDArray[np.int64] = self._sum.view(np.int64)
        limit, weight = self._bound * self._weight, np.int64(self._weight)
        for start in range(0, mean.size, BLOCK):
            part = signed[start : start + BLOCK]
            if largest_magnitude(part) > limit:
                at = int(np.argmax((part > limit) | (part < -limit)))
                raise sum_spoilt(start + at, int(part[at]), limit)
            # Then the quotient is within the bound, and so in int32.
            mean[start : start + BLOCK] = part // weight
        return mean

    def _check_length(self, vector: RingVector) -> None:
        if vector.shape != self._sum.shape:
            raise shape_mismatch("masked vector", self._sum.size, vector.size)


def sum_spoilt(index: int, value: int, limit: int) -> OutOfRange:
    """An unmasked sum leaves the bound; both in fixed point, times the cohort's weight."""
    words = (
        f"coordinate {index} of the unmasked sum is {value}, beyond {limit}: a mask or an update "
        "of this cohort is wrong; the round closes void, and this coordinate proves it."
    )
    return OutOfRange("unmasked sum", index, value, words)
