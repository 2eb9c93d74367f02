"""Sums of products over a vector, exact, and committed so that one page proves a wrong one.

Level 0 has one value a chunk of the vector, each next level the sums of 32 values of the level
below, up to the first level of at most 32. Each level is padded with zeros to whole pages of 32
values, int256 big-endian, so a page is one chunk of a vector, and the pages of all levels, one
behind the other, have an ordinary vector root.

Source:
    A Merkle-sum tree (Maxwell 2014, proof of liabilities) of fan-out 32; Scores.sol.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wardround.protocol.errors import shape_mismatch
from wardround.protocol.fixed_point import BLOCK, Int64Vector, IntVector
from wardround.protocol.identifiers import Root
from wardround.protocol.merkle import CHUNK_BYTES, vector_root

#: Coordinates of int32 in a chunk: what one value of level 0 covers.
CHUNK_COORDINATES = CHUNK_BYTES // 4
#: Values in a page, each of 32 bytes.
PAGE_VALUES = CHUNK_BYTES // 32

# A value is held as high * 2**48 + low with 0 <= low < 2**48. Coordinates are below 2**32, so a
# product is below 2**64 and a value of any level below 2**96: high stays below 2**48.
_LOW_BITS = 48


@dataclass(frozen=True)
class SumTree:
    """Values and their sums, level by level.

    Attributes:
        levels: of each its values' high and low parts, int64, unpadded; the value is
            ``high * 2**48 + low``.
    """

    levels: tuple[tuple[Int64Vector, Int64Vector], ...]

    @classmethod
    def of_products(cls, one: IntVector, other: IntVector) -> SumTree:
        """Sum up ``one_i * other_i``; see `dot_exact`."""
        return cls._over(*_chunk_products(one, other))

    @classmethod
    def of_distances(cls, one: IntVector, other: IntVector) -> SumTree:
        """Sum up ``(one_i - other_i)**2``; see `distance_exact`."""
        return cls._over(*_chunk_distances(one, other))

    @classmethod
    def _over(cls, high: Int64Vector, low: Int64Vector) -> SumTree:
        levels = [(high, low)]
        while levels[-1][0].size > PAGE_VALUES:
            levels.append(_normal(*(_sums_of(part, PAGE_VALUES) for part in levels[-1])))
        return cls(tuple(levels))

    @cached_property
    def total(self) -> int:
        """The sum of all values."""
        high, low = self.levels[-1]
        return _total(high, low)

    @cached_property
    def data(self) -> bytes:
        """All pages, a whole number of chunks."""
        return b"".join(_page_bytes(high, low) for high, low in self.levels)

    @cached_property
    def root(self) -> Root:
        """The vector root of the pages."""
        return vector_root(self.data)


def dot_exact(one: IntVector, other: IntVector) -> int:
    """Sum ``one_i * other_i``.

    Args:
        one: integers of magnitude <= 2**31, shape (P,).
        other: integers of magnitude < 2**32, shape (P,).
    Raises:
        ProtocolError: they differ in length.
    """
    return _total(*_chunk_products(one, other))


def distance_exact(one: IntVector, other: IntVector) -> int:
    """Sum ``(one_i - other_i)**2`` of int32 vectors, shape (P,).

    Raises:
        ProtocolError: they differ in length.
    """
    return _total(*_chunk_distances(one, other))


def _chunk_products(one: IntVector, other: IntVector) -> tuple[Int64Vector, Int64Vector]:
    high, low = _room_for(one, other)
    for block, chunks in _blocks(one.size):
        products = one[block].astype(np.int64)
        products *= other[block]
        high[chunks] = _chunk_sums(products >> 32)
        low[chunks] = _chunk_sums(products & 0xFFFFFFFF)
    return _from_halves(high, low)


def _chunk_distances(one: IntVector, other: IntVector) -> tuple[Int64Vector, Int64Vector]:
    high, low = _room_for(one, other)
    for block, chunks in _blocks(one.size):
        apart = one[block].astype(np.int64)
        apart -= other[block]
        # Below 2**64, which only unsigned numbers reach.
        squares = np.abs(apart).astype(np.uint64)
        squares *= squares
        high[chunks] = _chunk_sums((squares >> np.uint64(32)).astype(np.int64))
        low[chunks] = _chunk_sums((squares & np.uint64(0xFFFFFFFF)).astype(np.int64))
    return _from_halves(high, low)


def _room_for(one: IntVector, other: IntVector) -> tuple[Int64Vector, Int64Vector]:
    if one.shape != other.shape:
        raise shape_mismatch("vector", one.size, other.size)
    chunks = -(-one.size // CHUNK_COORDINATES)
    return np.empty(chunks, np.int64), np.empty(chunks, np.int64)


def _blocks(size: int) -> list[tuple[slice, slice]]:
    """Blocks of coordinates, and of the chunks that each covers."""
    step = BLOCK // CHUNK_COORDINATES
    return [
        (slice(start, start + BLOCK), slice(at := start // CHUNK_COORDINATES, at + step))
        for start in range(0, size, BLOCK)
    ]


def _chunk_sums(values: Int64Vector) -> Int64Vector:
    return _sums_of(values, CHUNK_COORDINATES)


def _sums_of(values: Int64Vector, count: int) -> Int64Vector:
    """Sums of so many consecutive values; the last may be of fewer."""
    sums: Int64Vector = np.add.reduceat(values, np.arange(0, values.size, count))
    return sums


def _from_halves(high: Int64Vector, low: Int64Vector) -> tuple[Int64Vector, Int64Vector]:
    """Take ``high * 2**32 + low`` apart at the 48th bit instead; both below 2**41."""
    return _normal(high >> 16, low + ((high & 0xFFFF) << 32))


def _normal(high: Int64Vector, low: Int64Vector) -> tuple[Int64Vector, Int64Vector]:
    return high + (low >> _LOW_BITS), low & ((1 << _LOW_BITS) - 1)


def _total(high: Int64Vector, low: Int64Vector) -> int:
    # The low parts of 2**24 chunks would wrap: those of 2**14 never do.
    step = 1 << 14
    lows = sum(int(low[start : start + step].sum()) for start in range(0, low.size, step))
    return (int(high.sum()) << _LOW_BITS) + lows


def _page_bytes(high: Int64Vector, low: Int64Vector) -> bytes:
    """Values as int256 big-endian, with zeros up to a whole page."""
    rows = -(-high.size // PAGE_VALUES) * PAGE_VALUES
    words = np.zeros((rows, 32), np.uint8)
    words[: high.size, :18] = np.where(high < 0, 0xFF, 0).astype(np.uint8)[:, None]
    words[: high.size, 18:26] = high.astype(">i8")[:, None].view(np.uint8)
    words[: low.size, 26:] = low.astype(">i8")[:, None].view(np.uint8)[:, 2:]
    return words.tobytes()
