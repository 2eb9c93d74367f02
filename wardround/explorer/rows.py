"""Rows that pages, terminal and API show alike; the queries beside this file fill them.

Hashes, roots and addresses are lower-case hexadecimal with 0x; amounts decimal text in the token's
smallest unit; times seconds since 1970. pydantic writes the API's JSON from these types and
describes it; a field marked `Unlisted` is for pages alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field

Row = TypeVar("Row")
#: Two shares of one, the lower first.
Interval = tuple[float, float]
Unlisted = Field(exclude=True)


@dataclass(frozen=True)
class Extent:
    """The indexed blocks: an answer covers these and no others."""

    first_block: int
    last_block: int
    last_hash: str
    last_timestamp: int


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A part of a list.

    Attributes:
        rows: at most `limit` of them.
        next: cursor of the next page; None on the last one.
    """

    rows: list[Row]
    next: str | None
    extent: Extent


@dataclass(frozen=True)
class Reorganisation:
    """Blocks that a reorganisation removed from the chain."""

    seen_at: int
    ancestor: int
    old_tip: int
    old_hash: str
    events_removed: int


@dataclass(frozen=True)
class Health:
    """How far the index is, and whether anything is in its way.

    Attributes:
        state: ``finished`` (a run's folder), ``following``, ``catching up``, ``waiting`` (retries)
            or ``stopped``; for the last two, `trouble` holds the error's sentence.
        head: the latest block that the node has reported.
        final_block: blocks up to this one count as final.
        headers: whether block hashes were recomputed: ``recomputed``, ``not recomputable`` or
            ``unknown``.
        store: where objects are read from; empty without a store.
        reorganisations: how many the index has followed.
    """

    source: str
    chain_id: int
    contract: str
    court: str
    state: str
    trouble: str
    extent: Extent
    head: int
    final_block: int
    confirmations: int
    headers: str
    store: str
    events: int
    reorganisations: int
    last_reorganisation: Reorganisation | None


@dataclass(frozen=True)
class EventRow:
    """An event, decoded and raw. ``cursor`` orders events as the chain does.

    Attributes:
        study_name: by the study's specification, where that is verified.
        decimals: of its token; 0 until the token was asked.
    """

    cursor: str
    block: int
    block_hash: str
    timestamp: int
    final: bool
    transaction: str
    log_index: int
    contract: str
    name: str
    study: str | None
    round: int | None
    site: str | None
    args: Mapping[str, Any]
    topics: list[str]
    data: str
    study_name: Annotated[str | None, Unlisted] = None
    decimals: Annotated[int, Unlisted] = 0
    #: Of the transaction; None until the index has read it.
    sender: Annotated[str | None, Unlisted] = None


@dataclass(frozen=True)
class Funds:
    """What came into a study's escrow, what left it, and what is in it.

    ``remaining = funded + bonds_posted + deposits - paid - fees - refunded - bonds_released -
    collected`` and ``bonds_posted = bonds_released + slashed + bonds_held``.

    Attributes:
        deposits: of demands, tallies and commitments to challenges.
        paid: to sites.
        fees: to coordinators, for closing rounds.
        collected: by accounts that it was owed to: what rounding left, attesting fees, deposits,
            parts of slashed bonds.
        remaining: what the escrow holds.
        burnt: the part of `slashed` that no challenger gets.
    """

    funded: str
    bonds_posted: str
    deposits: str
    paid: str
    fees: str
    refunded: str
    bonds_released: str
    collected: str
    remaining: str
    slashed: str
    burnt: str
    bonds_held: str


@dataclass(frozen=True)
class CoordinatorRow:
    """A coordinator or standby; `place` is its rank in the succession, from 1."""

    address: str
    name: str | None
    place: int
    bond: str
    bonded: bool
    barred: bool
    active: bool
    rounds_closed: int


@dataclass(frozen=True)
class MemberRow:
    """A site in a study. Counters leave out overturned rounds.

    Attributes:
        until: the first round without it; None while it is admitted.
        earned: by the entries of verified manifests; None without any.
    """

    study: str
    site: str
    name: str | None
    payout: str
    max_weight: int
    since: int
    until: int | None
    contributions: int
    weight: int
    paid: str
    earned: str | None


@dataclass(frozen=True)
class StoredObject:
    """A document of the content store, with the result of its verification.

    Attributes:
        status: ``verified``, ``missing``, ``altered``, ``too_large``, ``malformed``,
            ``contradicts`` (the chain), or ``pending``.
        reason: a sentence, unless it is verified.
    """

    digest: str
    cid: str
    status: str
    reason: str
    bytes: int | None
    document: Mapping[str, Any] | None


@dataclass(frozen=True)
class StudyRow:
    """A study in a list.

    Attributes:
        state: ``created``, ``open``, ``over`` (all rounds closed) or ``ended`` (early).
        name: by its specification, where that is verified.
        closed: closed rounds, without overturned ones.
        decimals: of the token that amounts are in; 0 until the token was asked.
    """

    study: str
    name: str | None
    state: str
    sponsor: str
    created_at: int
    block: int
    block_hash: str
    rounds: int
    closed: int
    head: int
    sites: int
    overturned: int
    token: str
    decimals: int
    funds: Funds
    last_closed_at: int | None


@dataclass(frozen=True)
class StudyDetail:
    """A study without its rounds, which come in pages."""

    summary: StudyRow
    params: Mapping[str, Any]
    coordinator: str | None
    opened_at: int | None
    turn_until: int | None
    next_takeover: int | None
    final_through: int
    hold_round: int
    hold_until: int
    auditors: list[str]
    specification: StoredObject
    seats: list[CoordinatorRow]
    members: list[MemberRow]
    extent: Extent


@dataclass(frozen=True)
class RoundRow:
    """A closing of a round. An overturned round has several.

    Attributes:
        state: ``closed``, ``final`` or ``overturned``.
        challenge_until: when it becomes final, unless a challenge holds it.
        manifest: its status, see `StoredObject`.
        gas: of the transaction; None until the transaction is fetched.
        contributors: as the record counts them.
        reward: what the round pays at most.
    """

    study: str
    round: int
    commitment: str
    state: str
    coordinator: str
    closed_at: int
    challenge_until: int
    contributors: int
    total_weight: int
    model: str
    manifest: str
    dropped: int
    reward: str
    block: int
    block_hash: str
    transaction: str
    gas: int | None
    overturned_by: str | None
    statement: Mapping[str, Any] | None


@dataclass(frozen=True)
class ContributionRow:
    """A site's contribution to a round, from the chain, and from the manifest where it agrees.

    Attributes:
        reward: its share of the round's; None where the scores that it is paid by are not read.
        on_chain: whether the chain has an event of it (full recording).
        signature_valid: as checked here; None without a manifest.
        report: the site's own, with its status; None without a manifest.
    """

    site: str
    name: str | None
    weight: int
    update: str
    update_cid: str | None
    signature: str | None
    signature_valid: bool | None
    reward: str | None
    on_chain: bool
    report_cid: str | None
    report_status: str | None
    report: Mapping[str, Any] | None


@dataclass(frozen=True)
class DroppedRow:
    """A site that the coordinator left out, with the reason it gave."""

    site: str
    name: str | None
    reason: str
    evidence: str


@dataclass(frozen=True)
class RoundDetail:
    """One closing of a round with everything that belongs to it.

    Attributes:
        record: as on chain, by the contract's names.
        previous: the closing that it extends; None for round 1.
        deadline: when a standby could have taken over; None where it is not known.
        missed: members that are neither among the entries nor the dropped.
        others: other closings of the same round.
        events: of this round, oldest first, at most 500.
        raw: the signed transaction that closed it; None until it is fetched.
        entries_transaction: the one that fixed its contributions: its own, or its lock's.
    """

    summary: RoundRow
    record: Mapping[str, Any]
    previous: RoundRow | None
    opened_at: int | None
    deadline: int | None
    manifest: StoredObject
    entries: list[ContributionRow]
    dropped: list[DroppedRow]
    missed: list[MemberRow]
    others: list[RoundRow]
    events: list[EventRow]
    raw: str | None
    entries_transaction: str
    extent: Extent


@dataclass(frozen=True)
class OpenRoundDetail:
    """The open round: only registrations of it are on chain."""

    study: str
    round: int
    coordinator: str | None
    opened_at: int
    deadline: int
    takeover_at: int | None
    base_model: str
    members: list[MemberRow]
    events: list[EventRow]
    extent: Extent


@dataclass(frozen=True)
class ChartRow:
    """One round in a study's charts; overturned rounds are left out.

    Attributes:
        weights, rewards: by site.
        metrics: by name and site, from the sites' reports.
        statement: the round's line in the run's folder; not on chain.
    """

    round: int
    closed_at: int
    model: str
    gas: int | None
    weights: Mapping[str, int]
    rewards: Mapping[str, str]
    metrics: Mapping[str, Mapping[str, float]]
    statement: Mapping[str, Any] | None

    @cached_property
    def accuracy(self) -> dict[str, float]:
        """Accuracy by site, from the run's folder."""
        return shares((self.statement or {}).get("accuracy"))

    @cached_property
    def accuracy_interval(self) -> dict[str, Interval]:
        """Where the accuracy is in 95 of 100 cases, of sites that add noise; from the folder."""
        return intervals((self.statement or {}).get("accuracy_interval"))

    @cached_property
    def pooled(self) -> float | None:
        """Accuracy on the rows of all sites together, from the run's folder."""
        return shares({"": (self.statement or {}).get("pooled_accuracy")}).get("")

    @cached_property
    def pooled_interval(self) -> Interval | None:
        """Where that is in 95 of 100 cases; None where no site adds noise."""
        return intervals({"": (self.statement or {}).get("pooled_accuracy_interval")}).get("")

    @property
    def loss(self) -> Mapping[str, float]:
        """Training loss by site, from the sites' reports."""
        return self.metrics.get("train_loss", {})


@dataclass(frozen=True)
class SiteDetail:
    """A site over all studies, its contributions in pages, newest first."""

    site: str
    name: str | None
    memberships: list[MemberRow]
    contributions: Page[SignedRow]
    extent: Extent


@dataclass(frozen=True)
class SignedRow:
    """A contribution of one site, with its share of the round's reward, as in `ContributionRow`."""

    cursor: str
    study: str
    round: int
    commitment: str
    state: str
    weight: int
    update: str
    reward: str | None
    closed_at: int
    block_hash: str
    transaction: str


@dataclass(frozen=True)
class Hit:
    """A result of a search.

    Attributes:
        kind: ``study``, ``round``, ``site``, ``address``, ``transaction``, ``block``, ``model``,
            ``update``, ``manifest``, ``report``, ``specification``, ``contributions``,
            ``commitments``, ``commitment`` or ``demand``.
        title: for people.
        study, round, commitment, address, transaction, block: where it leads; None where it does
            not apply.
    """

    kind: str
    title: str
    study: str | None = None
    round: int | None = None
    commitment: str | None = None
    address: str | None = None
    transaction: str | None = None
    block: int | None = None
    cid: str | None = None


@dataclass(frozen=True)
class TransactionDetail:
    """A transaction with its events; ``raw`` is the signed bytes, where the node has them."""

    hash: str
    block: int
    block_hash: str
    timestamp: int
    sender: str | None
    recipient: str | None
    gas_used: int | None
    raw: str | None
    events: list[EventRow]


@dataclass(frozen=True)
class BlockDetail:
    """A block of the index with its events."""

    number: int
    hash: str
    parent: str
    timestamp: int
    final: bool
    events: list[EventRow]


def shares(value: Any) -> dict[str, float]:
    """The values from 0 to 1 in a document from outside, by their names; others are left out."""
    if not isinstance(value, dict):
        return {}
    return {
        str(name): float(share)
        for name, share in value.items()
        if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1
    }


def intervals(value: Any) -> dict[str, Interval]:
    """The same of pairs of such values, the lower one first."""
    if not isinstance(value, dict):
        return {}
    found = {}
    for name, pair in value.items():
        ends = shares(dict(enumerate(pair))) if isinstance(pair, list) else {}
        if len(ends) == 2 == len(pair) and ends["0"] <= ends["1"]:
            found[str(name)] = ends["0"], ends["1"]
    return found
