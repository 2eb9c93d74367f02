"""What the contract's views say, as frozen dataclasses.

Source:
    IWardRound.sol: StudyState, Site, Seat, openRound.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.record import Closing, Recording, RuleId

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
    """A coordinator's place, from 1, and bond; place 0 for everybody else."""

    bond: int
    place: int
    bonded: bool


@dataclass(frozen=True)
class StudyState:
    """A study as it stands. Amounts in the token's smallest unit, times in seconds since 1970."""

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
    rule: RuleId
    rule_argument: int
    parameter_count: int
    challenge_seconds: int
    round_seconds: int
    grace_seconds: int
    demand_seconds: int
    bond: int
    reward_per_round: int
    funded: int
    paid: int
    refunded: int
    coordinators: tuple[str, ...]


@dataclass(frozen=True)
class ClosedOnChain:
    """A closed round with the transaction that closed it.

    ``entries`` is the packed calldata of full recording; None under root recording, or when
    another contract made the call.
    """

    round: int
    closing: Closing
    entries: bytes | None
    transaction_hash: str
    block_number: int
    gas_used: int
