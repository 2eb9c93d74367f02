"""Bring evidence before the court, in as many transactions as it takes."""

from __future__ import annotations

from collections.abc import Sequence

from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.court import NO_COORDINATE, Court
from wardround.chain.court_reader import Contested
from wardround.chain.study_token import StudyToken
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

#: A demand costs the bond divided by this, as a deposit.
DEPOSIT_SHARE = 10


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
        signer: pays; has the challenger's part of the bond, and for a demand pays its deposit.
        contested: the round.
        evidence: see `wardround.audit.examination.examine`.
        rule: the study's, for evidence that takes several transactions.
        limit_bytes: what one transaction may carry.
    Returns:
        Receipts of what was sent; fewer, or none, where others had done it before.
    Raises:
        ContractReverted: the evidence proves nothing; names why.
    """
    receipts: Sequence[Receipt | None]
    if isinstance(evidence, Demand):
        receipts = _demand(court, signer, contested, evidence)
    elif isinstance(evidence, TotalsEvidence) and evidence.calldata_bytes > limit_bytes:
        steps = [(part, b"") for part in tally_steps(evidence.entries, limit_bytes)]
        receipts = _tally(court, signer, contested, None, (0, 0), steps)
    elif isinstance(evidence, CoordinateEvidence) and evidence.calldata_bytes > limit_bytes:
        steps = [
            (part.entries, b"".join(leaf.opening for leaf in part.updates))
            for part in evidence.steps(limit_bytes)
        ]
        bounds = evidence.order_statistics(rule)
        receipts = _tally(court, signer, contested, evidence, bounds, steps)
    else:
        receipts = [court.challenge(signer, contested, evidence)]
    return [receipt for receipt in receipts if receipt is not None]


def _demand(
    court: Court, signer: LocalAccount, contested: Contested, demand: Demand
) -> list[Receipt | None]:
    state = court.ward.study(contested.study)
    token = StudyToken(court.chain, state.token)
    approval = token.approve(signer, court.ward.address, state.bond // DEPOSIT_SHARE)
    return [approval, court.demand_chunk(signer, contested, demand)]


def _tally(
    court: Court,
    signer: LocalAccount,
    contested: Contested,
    evidence: CoordinateEvidence | None,
    bounds: tuple[int, int],
    steps: Sequence[tuple[bytes, bytes]],
) -> list[Receipt | None]:
    """Open a tally, or go on with one of one's own, and see it through."""
    receipts = [court.open_tally(signer, contested, evidence, bounds)]
    coordinate = NO_COORDINATE if evidence is None else evidence.coordinate
    tally = court.own_tally(signer.address, contested, coordinate)
    if tally is None:  # another account's proof has overturned the round
        return receipts
    counted = 0
    for entries, updates in steps:
        receipts.append(court.add_to_tally(signer, tally, counted, entries, updates))
        counted += len(entries) // ENTRY_BYTES
    return [*receipts, court.finish_tally(signer, contested, tally)]
