"""What an auditor may do, and how it reports what it saw and did."""

from __future__ import annotations

from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from wardround.audit.signatures import SignatureFolder
from wardround.protocol.evidence import CALLDATA_LIMIT
from wardround.protocol.record import RuleId
from wardround.protocol.whole_evidence import PROVABLE_SITES, is_unprovable, unprovable_words


@dataclass(frozen=True)
class Notice:
    """Something an auditor saw or did.

    Attributes:
        kind: ``holds``, ``unproven``, ``breach``, ``challenged``, ``refused``, ``overturned``,
            ``attested``, ``demanded``, ``answered``, ``unsigned`` where another account must sign
            first, or, while the chain or store is away, ``waiting``.
        round: which one; 0 where it is about none.
        words: one sentence.
        challenge: the entry point, where one was sent or would prove it.
        gas: of everything that was sent for it.
    """

    kind: str
    round: int
    words: str
    challenge: str | None = None
    gas: int | None = None


@dataclass(frozen=True)
class SignedElsewhere:
    """An attestation that an auditor makes with other software, as a Safe's owners do.

    Attributes:
        auditor: its address.
        signature: as `IWardRound.attest` takes it; None to learn what is to be signed.
        round: the last one that it speaks for; None for the last that holds.
    """

    auditor: str
    signature: bytes | None = None
    round: int | None = None


@dataclass(frozen=True)
class Powers:
    """What an auditor may do besides looking.

    Attributes:
        key: pays for what it sends, and signs attestations if it is one of the study's auditors.
        challenge: whether to send proofs of breaches, and demand what is not shown.
        answer: whether to show on chain what others demand and the store has.
        signatures: where auditors leave their attestations for each other; needed for a quorum of
            more than one.
        elsewhere: the attestation to send, in place of one by ``key``.
        limit_bytes: what one transaction may carry.
    """

    key: LocalAccount | None = None
    challenge: bool = False
    answer: bool = False
    signatures: SignatureFolder | None = None
    elsewhere: SignedElsewhere | None = None
    limit_bytes: int = CALLDATA_LIMIT


def unproven_words(rule: RuleId, sites: int) -> str | None:
    """Warn of a round of more sites than challenges can prove wrong; None of any other."""
    if not is_unprovable(rule, sites):
        return None
    return (
        f"{sites} sites: that {unprovable_words(rule)} of {rule.name.lower()} is wrong can be "
        f"proven of at most {PROVABLE_SITES[rule]:,}, so auditors alone see it here"
    )
