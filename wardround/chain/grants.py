"""The Grants contract in Python: who may read what a study keeps confidential.

Source:
    IGrants.sol
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.bound import BoundContract, deploy_artifact
from wardround.chain.chain import Chain
from wardround.protocol.contribution import Domain
from wardround.protocol.identifiers import StudyId


@dataclass(frozen=True)
class Grantee:
    """An account that may read, with the X25519 key (32 bytes) that keys are wrapped to."""

    account: str
    public_key: bytes


class Grants(BoundContract):
    """The contract at an address; a new one (`deploy`) has no owner."""

    ARTIFACT = "Grants"

    @classmethod
    def deploy(cls, chain: Chain, signer: LocalAccount, ward_round: str) -> Grants:
        """Deploy a new one, for the studies of the WardRound at an address."""
        address, _ = deploy_artifact(chain, signer, cls.ARTIFACT, ward_round)
        return cls(chain, address)

    @property
    def domain(self) -> Domain:
        """What signatures about confidential objects are good for."""
        return Domain(self.chain.chain_id, self.address)

    def ward_round(self) -> str:
        """Address of the contract that knows studies and their sponsors."""
        return str(self._ask("WARD_ROUND"))

    def grant(
        self, sponsor: LocalAccount, study: StudyId, reader: str, public_key: bytes
    ) -> Receipt | None:
        """Let an account read; None when it may, with this key."""
        call = self._call("grant", study, reader, public_key)
        return self._send(
            sponsor,
            call,
            f"grant {reader}",
            lambda: self.public_key_of(study, reader) == public_key,
        )

    def revoke(self, sponsor: LocalAccount, study: StudyId, reader: str) -> Receipt | None:
        """Let it read nothing that is written from now on; None when it may not now."""
        call = self._call("revoke", study, reader)
        return self._send(
            sponsor, call, f"revoke {reader}", lambda: not self.is_granted(study, reader)
        )

    def is_granted(self, study: StudyId, reader: str) -> bool:
        """Whether an account may read now."""
        return bool(self._ask("isGranted", study, reader))

    def public_key_of(self, study: StudyId, reader: str) -> bytes:
        """The key of a reader, 32 bytes; zero for any other account."""
        return bytes(self._ask("publicKeyOf", study, reader))

    def epoch(self, study: StudyId) -> int:
        """The epoch of what is written now, from 1."""
        return int(self._ask("epoch", study))

    def readers(self, study: StudyId) -> list[Grantee]:
        """All accounts that may read now, sorted."""
        found = self._ask("readers", study)
        return sorted((Grantee(str(a), bytes(k)) for a, k in found), key=lambda one: one.account)
