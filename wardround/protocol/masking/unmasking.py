"""What a helper publishes once a cohort is locked: the sum of its masks in one set.

Both holders of a set compute the same vector, so one answer is enough, and two that differ show
that a holder, or a site, lied.

Source:
    EIP-712 (typed structured data).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wardround.protocol.contribution import Domain, check_signer, sign_digest
from wardround.protocol.identifiers import Root, SiteAddress, StudyId
from wardround.protocol.masking.streams import RingVector, Segments, add_stream
from wardround.protocol.masking.typed_data import struct_hash, typed_digest
from wardround.protocol.masking.weights import WEIGHT_MAX, check_weight
from wardround.protocol.merkle import vector_root

UNMASKING_TYPE = (
    "Unmasking(bytes32 study,uint32 round,uint32 attempt,bytes32 lock,bytes32 blockHash,uint8 set,"
    "address helper,bytes32 sum)"
)


@dataclass(frozen=True)
class Unmasking:
    """A helper's statement: this lock, in this block, is opened in this set by this sum of masks.

    ``lock`` is the commitment to the lock's closing, 32 bytes, ``block_hash`` that of the block
    that has it, 32 bytes, and ``sum`` the vector root of `mask_sum`.
    """

    study: StudyId
    round: int
    attempt: int
    lock: bytes
    block_hash: bytes
    set_number: int
    helper: SiteAddress
    sum: Root

    def signing_digest(self, domain: Domain) -> bytes:
        """EIP-712 digest that the helper's key signs, 32 bytes."""
        struct = struct_hash(
            UNMASKING_TYPE,
            self.study,
            self.round,
            self.attempt,
            self.lock,
            self.block_hash,
            self.set_number,
            self.helper,
            self.sum,
        )
        return typed_digest(domain, struct)

    def sign(self, domain: Domain, key: bytes) -> bytes:
        """Sign with the helper's private key, 32 bytes; 65 bytes r, s (low), v."""
        return sign_digest(self.signing_digest(domain), key)

    def check_signature(self, domain: Domain, signature: bytes) -> None:
        """Check that ``helper`` made this signature.

        Raises:
            SignatureInvalid: wrong length, high s, or another signer.
        """
        check_signer(self.helper, self.signing_digest(domain), signature)

    def equivocates(self, other: Unmasking) -> bool:
        """Whether one helper gave two answers for a set, or named two locks, in one attempt.

        Both signatures, in one domain, are then the proof against it; the caller checks them.
        """
        mine = (self.study, self.round, self.attempt, self.helper)
        if self == other or mine != (other.study, other.round, other.attempt, other.helper):
            return False
        one_lock = (self.lock, self.block_hash) == (other.lock, other.block_hash)
        return self.set_number == other.set_number or not one_lock

    def is_disputed(self, other: Unmasking) -> bool:
        """Whether the two holders of a set give different sums for one lock."""
        differs = self.helper != other.helper and self.sum != other.sum
        return differs and replace(self, helper=other.helper, sum=other.sum) == other


def mask_sum(segments: Segments, sites: Iterable[tuple[int, Sequence[bytes]]]) -> RingVector:
    """Add up a cohort's masks in one set: ``sum of w_i times stream_i``, modulo 2^64.

    Args:
        segments: how the study's vectors are cut.
        sites: of each member, its weight and the stream keys of its segments; read one by one.
    Returns:
        uint64, shape (P,).
    Raises:
        ProtocolError: a weight not in 1 .. 64.
        Malformed: another number of keys than segments.
    """
    total: RingVector = np.zeros(segments.parameter_count, np.uint64)
    for weight, keys in sites:
        check_weight(weight, WEIGHT_MAX)
        add_stream(total, segments, keys, weight)
    return total


def ring_root(vector: RingVector) -> Root:
    """Vector root of a masked update or a sum of masks."""
    return vector_root(vector.astype("<u8", copy=False).data)
