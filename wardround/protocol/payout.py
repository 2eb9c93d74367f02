"""What a site's payout address signs: that the site's rewards go to another address from now on.

Source:
    EIP-712 (typed structured data), IWardRound.changePayout.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils import keccak

from wardround.protocol.contribution import Domain, sign_digest
from wardround.protocol.identifiers import StudyId

PAYOUT_TYPE = "PayoutChange(bytes32 study,address site,address payout,uint256 change)"
_PAYOUT_TYPEHASH = keccak(text=PAYOUT_TYPE)


@dataclass(frozen=True)
class PayoutChange:
    """A site's next payout address; ``change`` counts the changes before it, so it serves once."""

    study: StudyId
    site: str
    payout: str
    change: int

    def signing_digest(self, domain: Domain) -> bytes:
        """EIP-712 digest that the present payout address signs, 32 bytes."""
        addresses = b"".join(
            bytes.fromhex(one[2:]).rjust(32, b"\0") for one in (self.site, self.payout)
        )
        body = keccak(_PAYOUT_TYPEHASH + self.study + addresses + self.change.to_bytes(32, "big"))
        return keccak(b"\x19\x01" + domain.separator + body)

    def sign(self, domain: Domain, key: bytes) -> bytes:
        """Sign with a payout address's private key, 32 bytes; 65 bytes r, s (low), v."""
        return sign_digest(self.signing_digest(domain), key)
