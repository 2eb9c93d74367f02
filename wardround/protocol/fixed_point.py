"""Real weights as integers, so that every sum is exact and every byte repeats.

A model is one flat vector of int32; the real value of a coordinate is ``m * 2**-scale_bits``.
Rounding happens once, at the site, and is round-half-to-even. Nothing is ever clamped: a value
that does not fit is an error with its coordinate. A study of the rule ``sum`` has vectors of
int64 in the same fixed point, because a sum is longer than what it adds up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wardround.protocol.errors import OutOfRange, shape_mismatch

Int32Vector = npt.NDArray[np.int32]
Int64Vector = npt.NDArray[np.int64]
#: Of a study of models, or of sums.
IntVector = Int32Vector | Int64Vector
Float32Vector = npt.NDArray[np.float32]

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1
#: Coordinates handled at once: temporaries stay in the cache and memory stays O(model).
BLOCK = 1 << 16


def dequantize(model: Int32Vector, scale_bits: int) -> Float32Vector:
    """Turn a fixed-point model into the float32 weights that a site trains from.

    Args:
        model: int32, shape (P,).
        scale_bits: fractional bits, 0 .. 30.
    Returns:
        float32, shape (P,); each value is ``m * 2**-scale_bits`` rounded to the nearest float32.
    """
    weights = model.astype(np.float32)
    weights *= np.float32(2.0**-scale_bits)
    return weights


def quantize(weights: Float32Vector, scale_bits: int) -> Int32Vector:
    """Turn float32 weights into a fixed-point model, rounding half to even.

    Args:
        weights: float32, shape (P,), finite.
        scale_bits: fractional bits, 0 .. 30.
    Returns:
        int32, shape (P,).
    Raises:
        OutOfRange: NaN, infinite, or beyond int32 after scaling; carries the coordinate.
    """
    return quantize_update(weights, np.zeros(weights.shape, np.int32), scale_bits)


def quantize_update(weights: Float32Vector, base: Int32Vector, scale_bits: int) -> Int32Vector:
    """Compute what a site sends: its trained weights in fixed point, less the base model.

    Args:
        weights: trained weights, float32, shape (P,).
        base: the model trained from, int32, shape (P,).
        scale_bits: fractional bits, 0 .. 30.
    Returns:
        int32, shape (P,): ``rint(float64(W) * 2**scale_bits) - M``.
    Raises:
        ProtocolError: the vectors differ in length.
        OutOfRange: a weight is NaN or infinite, or it or its difference leaves int32.
    """
    if weights.shape != base.shape:
        raise shape_mismatch("trained weights", base.size, weights.size)
    update = np.empty(base.shape, np.int32)
    scale = float(2**scale_bits)
    for start in range(0, base.size, BLOCK):
        block = slice(start, start + BLOCK)
        scaled = np.multiply(weights[block], scale, dtype=np.float64)
        np.rint(scaled, out=scaled)
        if not _fits_int32(scaled):
            at = start + _first_misfit(scaled)
            raise OutOfRange("trained weight", at, float(weights[at]))
        # Exact in float64: both are whole numbers of at most 32 bits.
        scaled -= base[block]
        update[block] = _to_int32(scaled, "update", start)
    return update


def add_exact(base: IntVector, change: IntVector) -> Int32Vector:
    """Add an aggregate to the model it belongs to: ``M_r = M_{r-1} + A``.

    Args:
        base: int32, shape (P,).
        change: int32, shape (P,).
    Returns:
        int32, shape (P,).
    Raises:
        ProtocolError: the vectors differ in length.
        OutOfRange: a sum leaves int32; carries the coordinate.
    """
    if base.shape != change.shape:
        raise shape_mismatch("aggregate", base.size, change.size)
    model = np.empty(base.shape, np.int32)
    for start in range(0, base.size, BLOCK):
        block = slice(start, start + BLOCK)
        total = base[block].astype(np.int64) + change[block]
        model[block] = _to_int32(total, "model", start)
    return model


def check_bound(update: IntVector, bound: int) -> None:
    """Check that no coordinate of an update exceeds a study's bound.

    Raises:
        OutOfRange: one does; carries the first.
    """
    if largest_magnitude(update) > bound:
        at = int(np.argmax((update > bound) | (update < -bound)))
        raise OutOfRange("update", at, int(update[at]), f"the update exceeds {bound} at {at}")


def check_fits(update: IntVector, bound: int, base: IntVector | None) -> None:
    """Check that a round can take an update in, as the contract would.

    Args:
        update: int32, of a sum int64, shape (P,).
        bound: the study's, in fixed point.
        base: the model that it is added to, int32, shape (P,); None of a sum.
    Raises:
        OutOfRange: a coordinate exceeds the bound, or leads the model out of int32; carries the
            first that exceeds the bound or, where none does, that leads out.
    """
    check_bound(update, bound)
    # Then no coordinate of most models can lead out.
    if base is not None and largest_magnitude(base) + bound > INT32_MAX:
        add_exact(base, update)


def largest_magnitude(vector: IntVector) -> int:
    """Return ``max |v_i|`` exactly, as a Python integer (so that -2**31 does not wrap)."""
    if not vector.size:
        return 0
    return max(int(vector.max()), -int(vector.min()))


def vector_bytes(vector: IntVector) -> bytes:
    """Write a vector as it is hashed and stored: int32, of a sum int64, little-endian."""
    return vector.astype(vector.dtype.newbyteorder("<"), copy=False).tobytes()


def vector_from_bytes(data: bytes | memoryview, parameter_count: int) -> Int32Vector:
    """Read a stored vector without copying it.

    Args:
        data: exactly ``4 * parameter_count`` bytes.
        parameter_count: P, as the study fixes it.
    Returns:
        int32, shape (P,), read-only.
    Raises:
        ProtocolError: another length.
    """
    vector: Int32Vector = _from_bytes(data, parameter_count, np.dtype(np.int32))
    return vector


def counts_from_bytes(data: bytes | memoryview, parameter_count: int) -> Int64Vector:
    """Read a stored vector of a study of sums without copying it; else as `vector_from_bytes`.

    Args:
        data: exactly ``8 * parameter_count`` bytes.
        parameter_count: P, as the study fixes it.
    Returns:
        int64, shape (P,), read-only.
    Raises:
        ProtocolError: another length.
    """
    vector: Int64Vector = _from_bytes(data, parameter_count, np.dtype(np.int64))
    return vector


def _from_bytes(
    data: bytes | memoryview, parameter_count: int, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    view = memoryview(data)
    if view.nbytes != dtype.itemsize * parameter_count:
        raise shape_mismatch("vector", parameter_count, view.nbytes // dtype.itemsize)
    vector = np.frombuffer(view, dtype=dtype.newbyteorder("<")).astype(dtype, copy=False)
    vector.flags.writeable = False
    return vector


def _to_int32(
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64], what: str, offset: int
) -> Int32Vector:
    if not _fits_int32(values):
        at = _first_misfit(values)
        raise OutOfRange(what, offset + at, float(values[at]))
    return values.astype(np.int32)


def _fits_int32(values: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> bool:
    # NaN comes out of min and max, and a comparison with NaN is false, as it should be here.
    return bool(values.min() >= INT32_MIN and values.max() <= INT32_MAX)


def _first_misfit(values: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> int:
    return int(np.argmin((values >= INT32_MIN) & (values <= INT32_MAX)))
