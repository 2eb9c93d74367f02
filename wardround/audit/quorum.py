"""Send a quorum of attestations, although an auditor among them may be a hostile contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, islice

from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.errors import ContractReverted, RpcRefused, TransactionRefused
from wardround.chain.ward_round import WardRound
from wardround.protocol.attestation import Attestation
from wardround.protocol.contribution import is_signed_by_key
from wardround.protocol.record import Closing

#: How often one call tries; what was refused is not tried again, so the next call goes on.
_ATTEMPTS = 32
#: All that a contract can bring about: its signature counts no more, or the gas is used up.
_ITS_DOING = ("WardRound_AttestationInvalid", "NoReason")


class QuorumSender:
    """Sends attestations together, leaving out contracts with which they are refused.

    A contract (ERC-1271) may accept its signature when it is asked, and refuse it or use up the gas
    when it is sent. The others are then sent without it. Signatures by
    keys have no such choice.
    """

    def __init__(self, ward: WardRound) -> None:
        self._ward = ward
        self._refused: dict[bytes, list[frozenset[str]]] = {}

    def send(
        self,
        payer: LocalAccount,
        statement: Attestation,
        closing: Closing,
        signatures: Mapping[str, bytes],
        quorum: int,
    ) -> tuple[Receipt | None, tuple[str, ...]] | None:
        """Attest with as many of the signatures as the contract takes.

        Args:
            payer: pays for gas.
            statement: what they sign.
            closing: of its round.
            signatures: valid ones by auditor, as far as each answers for itself.
            quorum: how many are needed.

        Returns:
            As `WardRound.attest`, and the auditors that were sent; None where every quorum was
            refused before.

        Raises:
            ContractReverted, TransactionRefused: no quorum of them is taken, or not now.
        """
        digest = statement.signing_digest(self._ward.domain)
        refused = self._refused.setdefault(digest, [])
        keys: list[str] = []
        contracts: list[str] = []
        for auditor in sorted(signatures, key=str.lower):
            by_key = is_signed_by_key(auditor, digest, signatures[auditor])
            (keys if by_key else contracts).append(auditor)
        failure: ContractReverted | TransactionRefused | None = None
        for some in islice(_choices(contracts, quorum - len(keys), refused), _ATTEMPTS):
            chosen = (*keys, *some)
            try:
                receipt = self._ward.attest(
                    payer,
                    statement.study,
                    statement.round,
                    closing,
                    {auditor: signatures[auditor] for auditor in chosen},
                )
                return receipt, chosen
            except (ContractReverted, TransactionRefused) as error:
                if not some or not _may_be_its_doing(error):
                    raise
                failure = error
                refused.append(_blamed(some, error))
        if failure is not None:
            raise failure
        return None


def _choices(
    contracts: list[str], least: int, refused: list[frozenset[str]]
) -> Iterator[tuple[str, ...]]:
    """Contracts to send together, most of them first; ``refused`` may grow meanwhile."""
    usable = [one for one in contracts if {one} not in refused]
    for count in range(len(usable), max(0, least) - 1, -1):
        for some in combinations(usable, count):
            if not any(one <= set(some) for one in refused):
                yield some


def _may_be_its_doing(error: ContractReverted | TransactionRefused) -> bool:
    if isinstance(error, ContractReverted):
        return error.name in _ITS_DOING
    cause = error.__cause__
    return not (isinstance(cause, RpcRefused) and cause.unaffordable)


def _blamed(some: tuple[str, ...], error: ContractReverted | TransactionRefused) -> frozenset[str]:
    # Only the first contract had all the gas: a later one may be named for what another one used.
    if isinstance(error, ContractReverted) and error.arguments.get("auditor") == some[0]:
        return frozenset(some[:1])
    return frozenset(some)
