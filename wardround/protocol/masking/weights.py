"""Weights of masked contributions, and the resolution that keeps each update hidden in the sum.

Large exact weights make the public sum a knapsack: at weights near 30,000 every coordinate of every
update was read from it. With weights of 1 to 64 and coordinates of thousands of units there are far
more combinations than sums.
"""

from __future__ import annotations

from wardround.protocol.errors import Malformed, ProtocolError, weight_invalid
from wardround.protocol.fixed_point import BLOCK, Int32Vector

#: The largest weight in a masked study.
WEIGHT_MAX = 64
#: What the median of the non-zero ``|q|`` is at least.
MEDIAN_MIN = 4096
#: A sum of weighted coordinates stays below this, so that a masked sum beyond the bound shows.
SUM_LIMIT = 2**62


def masked_weight(examples: int, cap: int, examples_per_weight: int) -> int:
    """Turn a site's number of examples into its weight, 1 .. 64.

    Args:
        examples: rows that it trained on.
        cap: its largest weight on chain.
        examples_per_weight: the study's divisor, at least 1.
    Returns:
        ``min(64, cap, floor(examples / examples_per_weight))``.
    Raises:
        ProtocolError: less than 1: the site cannot join.
        Malformed: the divisor is below 1.
    """
    if examples_per_weight < 1:
        raise Malformed("examples_per_weight", f"{examples_per_weight} is not at least 1")
    if cap < 1:
        raise weight_invalid("the site's cap", cap, WEIGHT_MAX)
    weight = min(WEIGHT_MAX, cap, examples // examples_per_weight)
    if weight < 1:
        raise ProtocolError(
            f"{examples} examples are fewer than the study's examples_per_weight "
            f"({examples_per_weight}): take part with more rows, or ask the sponsor for a study "
            "with a lower examples_per_weight."
        )
    return weight


def check_weight(weight: int, cap: int) -> None:
    """Check the weight of a masked contribution.

    Raises:
        ProtocolError: not in 1 .. min(64, cap).
    """
    if not 1 <= weight <= min(WEIGHT_MAX, cap):
        raise weight_invalid("weight of a masked contribution", weight, min(WEIGHT_MAX, cap))


def check_headroom(update_bound: int, sites: int) -> None:
    """Check, before a study is made, that its sums stay below 2^62 whatever its sites send.

    Args:
        update_bound: largest magnitude of an update's coordinate, in fixed point.
        sites: the most that a cohort has.
    Raises:
        ProtocolError: they might not.
    """
    if update_bound * WEIGHT_MAX * sites >= SUM_LIMIT:
        raise ProtocolError(
            f"{sites} sites of weight {WEIGHT_MAX} and an update bound of {update_bound} can reach "
            "2**62: lower update_bound or scale_bits, or admit fewer sites."
        )


def check_resolution(update: Int32Vector) -> None:
    """Check that an update is fine enough to be hidden: the guard does so before it masks.

    Of an even number of non-zero coordinates the lower middle one counts. An update of zeros alone
    passes: it moves nothing.

    Args:
        update: int32, shape (P,).
    Raises:
        ProtocolError: the median of the non-zero ``|q|`` is below 4,096.
    """
    moved = fine = 0
    for start in range(0, update.size, BLOCK):
        part = update[start : start + BLOCK]
        moved += int((part != 0).sum())
        fine += int(((part >= MEDIAN_MIN) | (part <= -MEDIAN_MIN)).sum())
    # So many are below the limit; where the lower middle one is among them, the median is.
    if moved - fine > max(moved - 1, 0) // 2:
        raise ProtocolError(
            f"{moved - fine} of {moved} non-zero coordinates of the update are below {MEDIAN_MIN}, "
            "too coarse to be hidden in a sum: make the study with more scale_bits."
        )
