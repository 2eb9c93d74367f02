"""What a site sends in a masked study: its update under three streams, and what it signs.

Source:
    EIP-712 (typed structured data).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wardround.protocol.contribution import Domain, check_signer, sign_digest
from wardround.protocol.errors import Malformed
from wardround.protocol.fixed_point import Int32Vector, counts_from_bytes
from wardround.protocol.identifiers import Digest, Root, SiteAddress, StudyId, address_of
from wardround.protocol.masking.ratchet import HELPERS
from wardround.protocol.masking.streams import RingVector, Segments, add_stream
from wardround.protocol.masking.typed_data import struct_hash, typed_digest
from wardround.protocol.masking.weights import check_weight

MASKED_TYPE = (
    "MaskedContribution(bytes32 study,uint32 round,uint32 attempt,bytes32 baseModel,address site,"
    "bytes32 masked,bytes32 setup,uint64 weight,uint16 minCohort,bytes32 report)"
)
#: Bytes of one packed entry: site 20, weight 8, masked 32, setup 32, min_cohort 2, report 32,
#: signature 65.
MASKED_ENTRY_BYTES = 191
#: A sum over one contribution is that contribution.
MIN_COHORT_LEAST = 2


@dataclass(frozen=True)
class MaskedContribution:
    """One site's statement: for this round, base and attempt, this masked update and weight.

    ``masked`` is the vector root of the masked update, ``setup`` the digest of the setup whose
    streams it is under, ``report`` the SHA-256 of the report. ``min_cohort`` is how many
    contributions, itself included, must be in a sum that is opened.
    """

    study: StudyId
    round: int
    attempt: int
    base_model: Root
    site: SiteAddress
    masked: Root
    setup: Digest
    weight: int
    min_cohort: int
    report: Digest

    def check_terms(self, cap: int, min_sites: int) -> None:
        """Check weight and ``min_cohort``.

        Args:
            cap: the site's largest weight on chain.
            min_sites: the study's.
        Raises:
            ProtocolError: the weight is not in 1 .. min(64, cap).
            Malformed: ``min_cohort`` is not in 2 .. min_sites.
        """
        check_weight(self.weight, cap)
        if not MIN_COHORT_LEAST <= self.min_cohort <= min_sites:
            reason = f"{self.min_cohort} is not in {MIN_COHORT_LEAST} .. {min_sites} (min_sites)"
            raise Malformed("min_cohort", reason)

    def signing_digest(self, domain: Domain) -> bytes:
        """EIP-712 digest that the site's key signs, 32 bytes."""
        struct = struct_hash(
            MASKED_TYPE,
            self.study,
            self.round,
            self.attempt,
            self.base_model,
            self.site,
            self.masked,
            self.setup,
            self.weight,
            self.min_cohort,
            self.report,
        )
        return typed_digest(domain, struct)

    def sign(self, domain: Domain, key: bytes) -> bytes:
        """Sign with the site's private key, 32 bytes; 65 bytes r, s (low), v."""
        return sign_digest(self.signing_digest(domain), key)

    def check_signature(self, domain: Domain, signature: bytes) -> None:
        """Check that ``site`` made this signature.

        Raises:
            SignatureInvalid: wrong length, high s, or another signer.
        """
        check_signer(self.site, self.signing_digest(domain), signature)


@dataclass(frozen=True)
class MaskedEntry:
    """A masked contribution as it is recorded: what is common to the round is left out."""

    site: SiteAddress
    weight: int
    masked: Root
    setup: Digest
    min_cohort: int
    report: Digest
    signature: bytes

    def pack(self) -> bytes:
        """Write the 191 bytes that are hashed into the contributions root."""
        return (
            bytes.fromhex(self.site[2:])
            + self.weight.to_bytes(8, "big")
            + self.masked
            + self.setup
            + self.min_cohort.to_bytes(2, "big")
            + self.report
            + self.signature
        )

    @classmethod
    def unpack(cls, data: bytes) -> MaskedEntry:
        """Read 191 bytes.

        Raises:
            Malformed: another length.
        """
        if len(data) != MASKED_ENTRY_BYTES:
            raise Malformed("entry", f"{len(data)} bytes where {MASKED_ENTRY_BYTES} belong")
        return cls(
            site=address_of("0x" + data[:20].hex()),
            weight=int.from_bytes(data[20:28], "big"),
            masked=Root(data[28:60]),
            setup=Digest(data[60:92]),
            min_cohort=int.from_bytes(data[92:94], "big"),
            report=Digest(data[94:126]),
            signature=data[126:],
        )

    def contribution(
        self, study: StudyId, round_number: int, attempt: int, base_model: Root
    ) -> MaskedContribution:
        """Put back what the round has in common, to check the signature."""
        return MaskedContribution(
            study,
            round_number,
            attempt,
            base_model,
            self.site,
            self.masked,
            self.setup,
            self.weight,
            self.min_cohort,
            self.report,
        )


def mask(update: Int32Vector, segments: Segments, keys: Sequence[Sequence[bytes]]) -> RingVector:
    """Mask an update: ``q`` plus the streams of all three sets, modulo 2^64.

    Args:
        update: int32, shape (P,).
        segments: how the study's vectors are cut.
        keys: of each set, the stream keys of its segments.
    Returns:
        uint64, shape (P,); a negative coordinate counts as ``2^64 - |q|``.
    Raises:
        Malformed: not three sets, or another number of keys.
        ProtocolError: another length.
    """
    if len(keys) != HELPERS:
        raise Malformed("mask", f"{len(keys)} sets of keys where {HELPERS} belong")
    masked: RingVector = update.astype(np.int64).view(np.uint64)
    for one in keys:
        add_stream(masked, segments, one)
    return masked


def masked_from_bytes(data: bytes | memoryview, parameter_count: int) -> RingVector:
    """Read a stored masked vector, or a sum of masks, without copying it.

    Args:
        data: exactly ``8 * parameter_count`` bytes, little-endian.
        parameter_count: P, as the study fixes it.
    Returns:
        uint64, shape (P,), read-only.
    Raises:
        ProtocolError: another length.
    """
    return counts_from_bytes(data, parameter_count).view(np.uint64)
