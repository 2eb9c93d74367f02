"""Mask streams: ChaCha20 over segments of a vector, added modulo 2^64.

A vector of P coordinates is masked as uint64, little-endian: 128 coordinates are a chunk of 1,024
bytes, one leaf of its vector root. Consecutive chunks make a segment, and each segment has a key of
its own, so that one of them can be opened in a dispute and the others stay secret. Coordinate i is
word ``i % 8`` of the 64-byte block that ``Segments.place`` names: one block of ChaCha20 computes
it, on chain as well.

Source:
    RFC 8439 section 2.3 and 2.4, with the nonce zero and the counter from zero: no key is used for
    a second stream (`wardround.protocol.masking.ratchet`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms

from wardround.protocol.errors import Malformed, shape_mismatch
from wardround.protocol.merkle import CHUNK_BYTES

#: Coordinates modulo 2^64; arithmetic on it wraps without an error.
RingVector = npt.NDArray[np.uint64]

COORDINATE_BYTES = 8
#: Coordinates of a block of ChaCha20, and of a chunk.
BLOCK_COORDINATES = 64 // COORDINATE_BYTES
CHUNK_COORDINATES = CHUNK_BYTES // COORDINATE_BYTES
KEY_BYTES = 32
#: Most segments of a vector, and most segment keys of a setup: all its rounds together.
SEGMENTS_MAX = 1024
KEYS_MAX = 1 << 20
#: Bytes of a stream computed at once: they stay in the processor's cache.
_STEP = 1 << 17
_ZEROS = bytes(_STEP)
#: 32 bits of counter, then the nonce of 96 bits.
_START = bytes(16)


@dataclass(frozen=True)
class Segments:
    """How a study's vectors are cut; both numbers are fixed by the study.

    Attributes:
        parameter_count: P, at least 1.
        rounds: of the study, 1 .. `KEYS_MAX`.
    """

    parameter_count: int
    rounds: int

    def __post_init__(self) -> None:
        """Refuse a study that has no segments.

        Raises:
            Malformed: a number out of range.
        """
        if not 1 <= self.parameter_count < 2**32:
            raise Malformed("parameter count", f"{self.parameter_count} is not in 1 .. 2**32 - 1")
        if not 1 <= self.rounds <= KEYS_MAX:
            reason = f"{self.rounds} is not in 1 .. {KEYS_MAX}: plan fewer, or a second study"
            raise Malformed("rounds of a masked study", reason)

    @property
    def chunks(self) -> int:
        """Chunks of 1,024 bytes in a masked vector; the last may be short."""
        return -(-self.parameter_count // CHUNK_COORDINATES)

    @property
    def chunks_each(self) -> int:
        """Chunks of a segment, the fewest that keep both limits; the last may have fewer."""
        return -(-self.chunks // min(SEGMENTS_MAX, KEYS_MAX // self.rounds))

    @property
    def count(self) -> int:
        """How many segments there are, 1 .. 1,024."""
        return -(-self.chunks // self.chunks_each)

    @property
    def coordinates_each(self) -> int:
        """Coordinates of a segment; the last may have fewer."""
        return self.chunks_each * CHUNK_COORDINATES

    def place(self, coordinate: int) -> tuple[int, int, int]:
        """Where a coordinate's mask is.

        Args:
            coordinate: 0 .. P - 1.
        Returns:
            Its segment, the block counter in the segment's stream, and the word of 8 bytes in that
            block, 0 .. 7.
        Raises:
            Malformed: no such coordinate.
        """
        if not 0 <= coordinate < self.parameter_count:
            raise Malformed(
                f"coordinate {coordinate}", f"the vector has {self.parameter_count} of them"
            )
        segment, rest = divmod(coordinate, self.coordinates_each)
        return segment, *divmod(rest, BLOCK_COORDINATES)


def add_stream(
    vector: RingVector, segments: Segments, keys: Sequence[bytes], weight: int = 1
) -> None:
    """Add one set's stream to a vector in place, modulo 2^64.

    Args:
        vector: uint64, shape (P,), contiguous, writable.
        segments: how it is cut.
        keys: a stream key of 32 bytes for each segment, each used for no other stream.
        weight: what the stream is multiplied by, 0 .. 2^64 - 1.
    Raises:
        ProtocolError: another length, or another number of keys.
    """
    if vector.shape != (segments.parameter_count,):
        raise shape_mismatch("masked vector", segments.parameter_count, vector.size)
    if len(keys) != segments.count:
        raise Malformed("stream keys", f"{len(keys)} where {segments.count} segments are")
    buffer = memoryview(bytearray(_STEP))
    zeros, words = memoryview(_ZEROS), np.frombuffer(buffer, "<u8")
    factor, done, filled = np.uint64(weight), 0, 0
    each, left = segments.coordinates_each * COORDINATE_BYTES, vector.size * COORDINATE_BYTES
    for key in keys:
        stream, rest = key_stream(key), min(each, left)
        left -= rest
        while rest:
            size = min(rest, _STEP - filled)
            stream.update_into(zeros[:size], buffer[filled : filled + size])
            filled, rest = filled + size, rest - size
            # Many short segments share one addition.
            if filled == _STEP or left == rest == 0:
                count = filled // COORDINATE_BYTES
                if weight != 1:
                    words[:count] *= factor
                vector[done : done + count] += words[:count]
                done, filled = done + count, 0


def key_stream(key: bytes) -> CipherContext:
    """Start the stream of a key of 32 bytes: what it makes of zeros."""
    return Cipher(algorithms.ChaCha20(key, _START), mode=None).encryptor()
