"""Pay out what an account has earned in a study: closing fees, and deposits that fall to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.court import Court
from wardround.chain.court_events import Committed, Demanded, TallyOpened
from wardround.chain.court_reader import DemandStatus
from wardround.chain.events import CohortLocked, RoundClosed
from wardround.chain.ward_round import WardRound
from wardround.protocol.identifiers import StudyId
from wardround.protocol.record import ZERO_ADDRESS, Closing


@dataclass(frozen=True)
class Settled:
    """Something that an account has earned, and the transaction that settled it."""

    what: str
    amount: int
    receipt: Receipt | None


def claim_fees(
    ward: WardRound, signer: LocalAccount, study: StudyId, account: str
) -> Iterator[Settled]:
    """Pay an account the closing fees of the final rounds that it closed."""
    fee = ward.study(study).closing_fee
    if not fee:
        return
    for number, closing in ward.final_closings(study):
        if closing.coordinator == account and not ward.is_fee_paid(study, number):
            receipt = ward.claim_fee(signer, study, number, closing)
            yield Settled(f"for closing round {number}", fee, receipt)


def close_lapsed(
    court: Court, signer: LocalAccount, study: StudyId, account: str
) -> Iterator[Settled]:
    """End demands, tallies and commitments whose deposit falls to an account; `collect` then pays.

    That of a demand without an answer falls to its author, and overturns the round if it is not
    final. Those of tallies and commitments fall to the coordinator of the accused round once they
    have lapsed, and all fall back to their authors once the round is overturned.
    """
    deposit, now = court.ward.study(study).deposit, court.chain.timestamp()
    events = court.events(study)
    closings = {
        event.closing.commitment: (event.round, event.closing)
        for event in court.ward.events(study)
        if isinstance(event, (RoundClosed, CohortLocked))
    }

    def falls_to(number: int, closing: Closing, author: str, is_over: bool) -> str | None:
        if not court.is_valid(study, number, closing):
            return author
        return closing.coordinator if is_over else None

    # First of all: a round that a demand overturns gives other deposits back.
    for event in events:
        if not isinstance(event, Demanded) or event.demander != account:
            continue
        demand = court.demand_of(event.demand)
        number, closing = closings[demand.commitment]
        accused = court.is_valid(study, number, closing) and not court.ward.is_final(
            study, number, closing
        )
        if (demand.status, demand.demander) != (DemandStatus.OPEN, account) or (
            accused and now <= demand.deadline
        ):
            continue
        receipt = court.close_demand(signer, event.demand, closing)
        words = f"as the deposit of a demand of round {number}"
        if accused:
            words += ", which is overturned: its data was not shown"
        yield Settled(words, demand.deposit, receipt)

    for event in events:
        if isinstance(event, TallyOpened):
            tally = court.tally_of(event.tally)
            number, closing = closings[tally.commitment]
            is_over = now >= tally.end
            if (
                tally.owner != ZERO_ADDRESS
                and falls_to(number, closing, tally.owner, is_over) == account
            ):
                receipt = court.close_tally(signer, event.tally, closing)
                yield Settled(f"as the deposit of tally {event.tally}", deposit, receipt)
        elif isinstance(event, Committed):
            number, closing = closings[event.closing]
            where = (study, number, closing, event.challenger, event.commitment)
            until, is_open = court.commitment_of(*where)
            if is_open and falls_to(number, closing, event.challenger, now > until) == account:
                receipt = court.close_commitment(signer, *where)
                words = f"as the deposit of a challenge by {event.challenger}"
                yield Settled(words, deposit, receipt)
