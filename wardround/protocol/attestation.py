"""What an auditor signs: that it replayed a study up to a round, and that all of it holds.

Source:
    EIP-712 (typed structured data), IWardRound.attest.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils import keccak

from wardround.protocol.contribution import Domain, recover_signer, sign_digest
from wardround.protocol.identifiers import StudyId

ATTESTATION_TYPE = "Attestation(bytes32 study,uint32 round,bytes32 record)"
_ATTESTATION_TYPEHASH = keccak(text=ATTESTATION_TYPE)


@dataclass(frozen=True)
class Attestation:
    """One auditor's statement; ``record`` is the commitment to the round's closing, 32 bytes.

    It speaks for every round up to this one.
    """

    study: StudyId
    round: int
    record: bytes

    def signing_digest(self, domain: Domain) -> bytes:
        """EIP-712 digest that the auditor's key signs, 32 bytes."""
        body = keccak(
            _ATTESTATION_TYPEHASH + self.study + self.round.to_bytes(32, "big") + self.record
        )
        return keccak(b"\x19\x01" + domain.separator + body)

    def sign(self, domain: Domain, key: bytes) -> bytes:
        """Sign with an auditor's private key, 32 bytes; 65 bytes r, s (low), v."""
        return sign_digest(self.signing_digest(domain), key)

    def signer(self, domain: Domain, signature: bytes) -> str:
        """Recover who signed.

        Raises:
            SignatureInvalid: wrong length, high s, or no key fits.
        """
        return str(recover_signer(self.signing_digest(domain), signature, "an auditor"))
