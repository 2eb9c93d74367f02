"""A vector that a store may lack, as far as it was shown on chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wardround.protocol.evidence import Leaf
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.inspection import chunk_leaf
from wardround.protocol.merkle import CHUNK_BYTES
from wardround.protocol.record import StudyParams


@dataclass(frozen=True)
class ShownVector:
    """All of a vector, or the chunks that were shown in answer to demands.

    Attributes:
        whole: int32, of a sum int64, shape (P,); None where it is not to be had.
        leaves: chunks that were shown, by place.
    """

    whole: IntVector | None
    leaves: Mapping[int, Leaf]

    def leaf(self, index: int) -> Leaf:
        """A chunk that is known, with its proof."""
        return self.leaves[index] if self.whole is None else chunk_leaf(self.whole.data, index)

    def chunk(self, index: int, width: int) -> IntVector:
        """The coordinates in a chunk that is known, each of so many bytes."""
        if self.whole is None:
            return np.frombuffer(self.leaves[index].data, f"<i{width}")
        start = CHUNK_BYTES // width * index
        return self.whole[start : start + CHUNK_BYTES // width]


def put_together(params: StudyParams, leaves: Mapping[int, Leaf]) -> IntVector | None:
    """A vector all of whose chunks were shown; None while one is missing."""
    chunks = -(-params.vector_size // CHUNK_BYTES)
    if len(leaves) < chunks:
        return None
    return params.read_vector(b"".join(leaves[index].data for index in range(chunks)))
