"""What the contract's views return, as frozen dataclasses.

Source:
    WardRoundTypes.sol: StudyState, Site, Seat; IStudies.openRound.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.record import Closing, Recording, RuleId, ScoringId

#: ``until`` of a site that was not removed.
STILL_MEMBER = 2**32 - 1


@dataclass(frozen=True)
class OpenRound:
    """The round being worked on."""

    round: int
    coordinator: str
    opened_at: int
    previous_commitment: bytes


@dataclass(frozen=True)
class SiteSlot:
    """A site's admission: member in rounds ``since <= r < until``; all zero for a stranger."""

    payout: str
    max_weight: int
    since: int
    until: int

    def is_member(self, round_number: int) -> bool:
        """Whether the site may contribute to a round."""
        return self.since > 0 and self.since <= round_number < self.until


@dataclass(frozen=True)
class Seat:
    """A coordinator's place, from 1, and bond; place 0 for any other account."""

    bond: int
    place: int
    bonded: bool
    barred: bool = False


@dataclass(frozen=True)
class StudyState:
    """A study's state. Amounts in the token's smallest unit, times in seconds since 1970."""

    sponsor: str
    token: str
    coordinator: str
    head: int
    opened_at: int
    final_through: int
    rounds: int
    site_count: int
    min_sites: int
    auditor_quorum: int
    recording: Recording
    locked_cohort: bool
    #: How many of its rounds were overturned.
    attempt: int
    #: Who locked the open round's cohort; the zero address while it is not locked.
    locked_by: str
    rule: RuleId
    rule_argument: int
    scoring: ScoringId
    parameter_count: int
    update_bound: int
    challenge_seconds: int
    objection_seconds: int
    round_seconds: int
    grace_seconds: int
    demand_seconds: int
    hold_round: int
    hold_until: int
    deadline: int
    bond: int
    deposit: int
    closing_fee: int
    attesting_fee: int
    reward_per_round: int
    funded: int
    paid: int
    refunded: int
    coordinators: tuple[str, ...]


@dataclass(frozen=True)
class Registration:
    """A contribution that was put on chain, so that the coordinator cannot leave it out.

    Attributes:
        entry: packed, 157 bytes.
        at: when, seconds since 1970.
        deadline: until when demanded bytes of its update can be shown; 0 when none were demanded.
        unanswered: demands that were not answered.
        refused: whether its update was shown to exceed the bound or to leave a model's range.
    """

    round: int
    site: SiteAddress
    entry: bytes
    at: int
    deadline: int = 0
    unanswered: int = 0
    refused: bool = False

    def binds(self, closed_at: int) -> bool:
        """Whether a round that was closed at some time has to hold it."""
        void = self.refused or (self.unanswered > 0 and self.deadline < closed_at)
        return not void


@dataclass(frozen=True)
class ClosedOnChain:
    """A closed round with the transaction that closed it.

    ``entries`` is the packed calldata of full recording, of the closing or of the lock before it;
    None under root recording, or when another contract made the call.
    """

    round: int
    closing: Closing
    entries: bytes | None
    transaction_hash: str
    block_number: int
    gas_used: int
