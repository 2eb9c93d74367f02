"""What a site is about to send: the size of its update, and the code that made it."""

from __future__ import annotations

import math

import numpy as np

from wardround.protocol.errors import OutOfRange
from wardround.protocol.fixed_point import BLOCK, Int32Vector, add_exact, largest_magnitude
from wardround.protocol.study import StudySpec
from wardround_client.errors import Refusal


def check_update(
    update: Int32Vector, base: Int32Vector, spec: StudySpec, max_norm: float | None
) -> float:
    """Check that an update is in range.

    Args:
        update: int32, shape (P,).
        base: the model it belongs to, int32, shape (P,).
        spec: of the study.
        max_norm: longest L2 norm in real units that the site's policy allows.
    Returns:
        The norm in real units. In floating point: no other machine has to compute the same.
    Raises:
        Refusal: ``update-out-of-range``: a coordinate, the model with it, or the norm.
    """
    largest = largest_magnitude(update)
    if largest > spec.update_limit:
        raise out_of_range("a coordinate", largest, spec.update_limit)
    try:
        add_exact(base, update)
    except OutOfRange as error:
        raise out_of_range("a coordinate of the model with it", error.value, 2**31) from None
    squares = sum(
        float(np.square(update[start : start + BLOCK].astype(np.float64)).sum())
        for start in range(0, update.size, BLOCK)
    )
    norm = math.sqrt(squares) * 2.0**-spec.aggregation.scale_bits
    if max_norm is not None and norm > max_norm:
        raise out_of_range("the norm", norm, max_norm)
    return norm


def code_changed(approved: str, found: str) -> Refusal:
    """Refuse an application that is not the one that was approved."""
    return Refusal(
        "code-changed",
        f"the application's code is {found}, and the site approved {approved} for this study: "
        "only that one may train here.",
    )


def out_of_range(what: str, found: float, limit: float) -> Refusal:
    """Refuse an update that is too short, too long or too large."""
    words = f"{what} of the update is {found:g} where {limit:g} is allowed."
    return Refusal("update-out-of-range", words)
