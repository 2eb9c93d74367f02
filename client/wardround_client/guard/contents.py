"""What a trainer answers and a site is about to send: its form, its range, and its code.

Whatever is wrong with an answer has one name: it leaves the site, and the study's own code could
choose between two by what it sees of the rows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.table import Table
from wardround.protocol.errors import OutOfRange
from wardround.protocol.fixed_point import BLOCK, Int32Vector, add_exact, largest_magnitude
from wardround.protocol.study import StudySpec
from wardround_client.errors import Refusal
from wardround_client.trainer.base import TrainResult

#: How far a row's probabilities may be from a sum of one.
_SHARES_TOLERANCE = 1e-6


def check_trained(trained: TrainResult, base: Int32Vector) -> None:
    """Check that a trainer's answer is an update, and a loss that rows could have.

    Args:
        trained: of which nothing is known.
        base: the model that it trained from, int32, shape (P,).
    Raises:
        Refusal: ``trainer-failed``.
    """
    update, loss = trained.update, trained.mean_loss
    if not isinstance(update, np.ndarray) or update.dtype != np.int32:
        raise _wrong("an update that is no vector of 32-bit integers")
    if update.shape != base.shape or not update.flags.c_contiguous:
        raise _wrong(f"an update of shape {update.shape} where {base.shape} belongs")
    if loss is not None and not (isinstance(loss, float) and 0 <= loss < math.inf):
        raise _wrong("a loss that is no finite number of at least 0")


def check_shares(shares: npt.NDArray[np.float64], tests: Table, classes: int) -> None:
    """Check that a trainer's answer is one probability of each class for each row.

    Args:
        shares: of which nothing is known.
        tests: the rows that it was asked about.
        classes: that the study's model tells apart.
    Raises:
        Refusal: ``trainer-failed``.
    """
    if not isinstance(shares, np.ndarray) or shares.dtype != np.float64:
        raise _wrong("probabilities that are no 64-bit floats")
    rows = len(tests)
    if shares.shape != (rows, classes):
        raise _wrong(f"probabilities of shape {shares.shape} for {rows} rows of {classes} classes")
    # NaN is neither.
    if not ((shares >= 0) & (shares <= 1)).all():
        raise _wrong("a probability that is not in 0 .. 1")
    if not (np.abs(shares.sum(axis=1) - 1) <= _SHARES_TOLERANCE).all():
        raise _wrong("probabilities of a row whose sum is not 1")


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
        Refusal: ``trainer-failed``: a coordinate, the model with it, or the norm.
    """
    largest = largest_magnitude(update)
    if largest > spec.update_limit:
        moved, bound = largest / 2**spec.aggregation.scale_bits, spec.aggregation.update_bound
        raise _wrong(f"a coordinate that moved by {moved:g}, more than update_bound {bound:g}")
    try:
        add_exact(base, update)
    except OutOfRange as error:
        raise _wrong(f"an update that brings a coordinate to {error.value}") from None
    squares = sum(
        float(np.square(update[start : start + BLOCK].astype(np.float64)).sum())
        for start in range(0, update.size, BLOCK)
    )
    norm = math.sqrt(squares) * 2.0**-spec.aggregation.scale_bits
    if max_norm is not None and norm > max_norm:
        raise _wrong(f"an update of norm {norm:g} where [policy] allows {max_norm:g}")
    return norm


def code_changed(approved: str, found: str) -> Refusal:
    """Refuse an application that is not the one that was approved."""
    return Refusal(
        "code-changed",
        f"the application's code is {found}, and the site approved {approved} for this study: "
        "only that one may train here.",
    )


def _wrong(what: str) -> Refusal:
    return Refusal("trainer-failed", f"the trainer answers with {what}.")
