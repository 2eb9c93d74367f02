"""Bring evidence before the court, in as many transactions as it takes.

A proof of one transaction is committed to first and revealed in a later block: an account that
sees it on its way and sends it as its own challenge earns nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from eth_abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from wardround.chain.blocks import Receipt
from wardround.chain.court import NO_COORDINATE, Court
from wardround.chain.court_reader import Contested
from wardround.chain.errors import ContractReverted
from wardround.protocol.contribution import ENTRY_BYTES
from wardround.protocol.evidence import (
    CALLDATA_LIMIT,
    CoordinateEvidence,
    Demand,
    Evidence,
    TotalsEvidence,
)
from wardround.protocol.inspection import tally_steps
from wardround.protocol.rules import Rule


def send_challenge(
    court: Court,
    signer: LocalAccount,
    contested: Contested,
    evidence: Evidence,
    *,
    rule: Rule,
    limit_bytes: int = CALLDATA_LIMIT,
) -> list[Receipt]:
    """Prove a breach, or demand what is not shown.

    Args:
        court: of the study's contract.
        signer: pays gas and the study's deposit, and has the challenger's part of the bond. A
            signer that cannot pay the deposit proves in the open, where others can copy it, and
            earns nothing while a commitment of another account is open.
        contested: the round.
        evidence: see `wardround.audit.examination.examine`.
        rule: the study's, for evidence that takes several transactions.
        limit_bytes: what one transaction may carry.
    Returns:
        Receipts of what was sent; fewer, or none, where others had done it before.
    Raises:
        ContractReverted: the evidence proves nothing; names why. A proof of one transaction has
            then cost no deposit.
    """
    receipts: Sequence[Receipt | None]
    if isinstance(evidence, Demand):
        receipts = list(send_demands(court, signer, contested, [evidence]))
    elif isinstance(evidence, TotalsEvidence) and evidence.calldata_bytes > limit_bytes:
        steps = [(part, b"") for part in tally_steps(evidence.entries, limit_bytes)]
        receipts = _tally(court, signer, contested, None, (0, 0), steps)
    elif isinstance(evidence, CoordinateEvidence) and evidence.calldata_bytes > limit_bytes:
        steps = [(part.entries, part.openings) for part in evidence.steps(limit_bytes)]
        bounds = evidence.order_statistics(rule)
        receipts = _tally(court, signer, contested, evidence, bounds, steps)
    elif not court.stands(contested):
        receipts = []
    elif court.payable_deposits(signer.address, contested.study):
        receipts = _commit_and_reveal(court, signer, contested, evidence)
    else:
        receipts = [court.challenge(signer, contested, evidence)]
    return [receipt for receipt in receipts if receipt is not None]


@dataclass(frozen=True)
class SealedChallenge:
    """The calldata of a challenge, and what its author commits to before it is shown."""

    data: bytes
    salt: bytes
    commitment: bytes

    @classmethod
    def of(
        cls, signer: LocalAccount, contested: Contested, data: bytes, attempt: int
    ) -> SealedChallenge:
        """Seal a challenge with a salt that its author finds again after a restart.

        Args:
            signer: makes the challenge; the salt is an HMAC under its key.
            contested: the round.
            data: the challenge's calldata.
            attempt: how many commitments to it have lapsed.
        """
        digest = keccak(data)
        numbers = contested.round.to_bytes(4) + attempt.to_bytes(4)
        words = b"challenge" + contested.study + contested.closing.commitment + digest + numbers
        salt = hmac.digest(bytes(signer.key), words, "sha256")
        sealed = encode(["address", "bytes32", "bytes32"], [signer.address, digest, salt])
        return cls(data, salt, keccak(sealed))


def commit_to(
    court: Court, signer: LocalAccount, contested: Contested, evidence: Evidence
) -> tuple[SealedChallenge, list[Receipt | None]]:
    """Commit to a proof of one transaction, or find the commitment that can be revealed.

    Raises:
        ContractReverted: the evidence proves nothing, or the token refuses the deposit; none is
            spent.
    """
    court.try_challenge(signer.address, contested, evidence)
    data = court.challenge_data(contested, evidence)
    where = (contested.study, contested.round, contested.closing, signer.address)
    for attempt in count():
        sealed = SealedChallenge.of(signer, contested, data, attempt)
        until, is_open = court.commitment_of(*where, sealed.commitment)
        if not until or (is_open and court.chain.timestamp() < until):
            break
    if until:
        return sealed, []
    approval = court.approve_deposit(signer, contested.study)
    return sealed, [approval, court.commit_challenge(signer, contested, sealed.commitment)]


def _commit_and_reveal(
    court: Court, signer: LocalAccount, contested: Contested, evidence: Evidence
) -> list[Receipt | None]:
    try:
        sealed, receipts = commit_to(court, signer, contested, evidence)
    except ContractReverted:
        # Where the token refuses the deposit: no commitment keeps a challenge in the open out.
        return [court.challenge(signer, contested, evidence)]
    receipts.append(court.reveal_challenge(signer, contested, sealed.salt, sealed.data))
    if receipts[-1] is None:
        # Another account's proof was first: the deposit comes back.
        where = (contested.study, contested.round, contested.closing, signer.address)
        receipts.append(court.close_commitment(signer, *where, sealed.commitment))
    return receipts


def send_demands(
    court: Court, signer: LocalAccount, contested: Contested, demands: Sequence[Demand]
) -> Iterator[Receipt]:
    """Demand what is not shown, as much of it as the signer can pay for, in order.

    Yields:
        Receipts of what was sent.
    Raises:
        TransactionRefused: it can pay for no more.
        ContractReverted: it is too late, or the round is no longer the one that is contested.
    """
    count = court.payable_deposits(signer.address, contested.study, len(demands))
    if count:
        approval = court.approve_deposit(signer, contested.study, count)
        yield from [] if approval is None else [approval]
    parts = [court.demanding(contested, demand) for demand in demands[:count]]
    for sent in court.send_together(signer, parts):
        if sent.error is not None:
            raise sent.error
        yield from [] if sent.receipt is None else [sent.receipt]
    if count < len(demands):
        court.approve_deposit(signer, contested.study, len(demands) - count)


def _tally(
    court: Court,
    signer: LocalAccount,
    contested: Contested,
    evidence: CoordinateEvidence | None,
    bounds: tuple[int, int],
    steps: Sequence[tuple[bytes, bytes]],
) -> list[Receipt | None]:
    """Open a tally, or go on with one of one's own, and see it through."""
    coordinate = NO_COORDINATE if evidence is None else evidence.coordinate
    receipts: list[Receipt | None] = []
    tally = court.own_tally(signer.address, contested, coordinate)
    if tally is None and court.stands(contested):
        receipts.append(court.approve_deposit(signer, contested.study))
        receipts.append(court.open_tally(signer, contested, evidence, bounds))
        tally = court.own_tally(signer.address, contested, coordinate)
    if tally is None:  # another account's proof has overturned the round
        return receipts
    counted, rows = 0, b"" if evidence is None else evidence.rows
    for entries, updates in steps:
        receipts.append(court.add_to_tally(signer, tally, counted, entries, updates, rows))
        counted += len(entries) // ENTRY_BYTES
    receipts.append(court.finish_tally(signer, contested, tally))
    if receipts[-1] is None:
        # Another account's proof was first: the deposit comes back.
        receipts.append(court.close_tally(signer, tally, contested.closing))
    return receipts
