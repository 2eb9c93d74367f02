"""What pages, terminal and API show: frozen dataclasses, filled by `reader.Reader`.

Hashes, roots and addresses are lower-case hexadecimal with 0x; amounts decimal text in the token's
smallest unit; times seconds since 1970. `dataclasses.asdict` gives the JSON of the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True)
class Extent:
    """Which blocks an answer speaks of: what is not in it may still be elsewhere."""

    first_block: int
    last_block: int
    last_hash: str
    last_timestamp: int


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A part of a list.

    Attributes:
        rows: at most as many as were asked for.
        next: where the next part begins; None at the end.
        extent: the blocks that were looked at.
    """

    rows: list[Row]
    next: str | None
    extent: Extent


@dataclass(frozen=True)
class Reorganisation:
    """Blocks that the chain gave up, as it was seen."""

    seen_at: int
    ancestor: int
    old_tip: int
    old_hash: str
    events_removed: int


@dataclass(frozen=True)
class Health:
    """How far the index is, and whether anything is in its way.

    Attributes:
        state: ``finished`` (a run's folder), ``following``, ``catching up``, ``waiting`` or
            ``stopped``; the last two with `trouble` in words.
        head: the latest block the node has named.
        final_block: blocks up to this one count as final.
        headers: whether block hashes were recomputed: ``recomputed``, ``not recomputable`` or
            ``unknown``.
        store: where objects are read from; empty when there is none.
        reorganisations: how many were seen.
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
    """An event, decoded beside raw. ``cursor`` orders events as the chain does."""

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


@dataclass(frozen=True)
class Funds:
    """``funded = paid + refunded + remaining`` and ``posted = released + slashed + held``.

    Attributes:
        promised: what all rounds that are left and closed can still pay.
        burnt: the part of `slashed` that nobody gets.
    """

    funded: str
    paid: str
    refunded: str
    remaining: str
    bonds_posted: str
    bonds_released: str
    slashed: str
    burnt: str
    bonds_held: str


@dataclass(frozen=True)
class Seat:
    """A coordinator or standby, in their order from 1."""

    address: str
    name: str | None
    place: int
    bond: str
    bonded: bool
    barred: bool
    active: bool
    rounds_closed: int


@dataclass(frozen=True)
class Member:
    """A site in a study. Counters are of rounds that stand.

    Attributes:
        until: the first round it is not a member of; None while it is admitted.
        earned: by the last verified manifest; None where there is none.
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
class Object:
    """A document of the content store, and what checking it gave.

    Attributes:
        status: ``verified``, ``missing``, ``altered``, ``too_large``, ``malformed``,
            ``contradicts`` (what the chain says), or ``pending``.
        reason: in words, where it is not verified.
    """

    digest: str
    cid: str
    status: str
    reason: str
    bytes: int | None
    document: Mapping[str, Any] | None


@dataclass(frozen=True)
class StudySummary:
    """A line of the list of studies.

    Attributes:
        state: ``created``, ``open``, ``over`` (all rounds closed) or ``ended`` (early).
        name: by its specification, where that is verified.
        closed: rounds that are closed and stand.
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
    funds: Funds
    last_closed_at: int | None


@dataclass(frozen=True)
class Study:
    """All about a study but its rounds, which come in pages."""

    summary: StudySummary
    params: Mapping[str, Any]
    coordinator: str | None
    opened_at: int | None
    turn_until: int | None
    next_takeover: int | None
    final_through: int
    hold_round: int
    hold_until: int
    auditors: list[str]
    specification: Object
    seats: list[Seat]
    members: list[Member]
    extent: Extent


@dataclass(frozen=True)
class RoundSummary:
    """A closing of a round. A round that was overturned has several.

    Attributes:
        state: ``closed``, ``final`` or ``overturned``.
        challenge_until: when time makes it final, if nothing holds it.
        manifest: its status, see `Object`.
        gas: of the transaction; None until it was looked up.
        contributors: as the record counts them.
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
    reward_total: str
    reward: str
    block: int
    block_hash: str
    transaction: str
    gas: int | None
    overturned_by: str | None
    statement: Mapping[str, Any] | None


@dataclass(frozen=True)
class Entry:
    """A site's contribution to a round, from the chain, and from the manifest where it agrees.

    Attributes:
        on_chain: whether an event of the chain says so (full recording).
        signature_valid: as checked here; None where no manifest gives the signature.
        report: the site's own, with its status; None without a manifest.
    """

    site: str
    name: str | None
    weight: int
    update: str
    update_cid: str | None
    signature: str | None
    signature_valid: bool | None
    score: int | None
    reward: str | None
    cumulative: str | None
    on_chain: bool
    report_cid: str | None
    report_status: str | None
    report: Mapping[str, Any] | None


@dataclass(frozen=True)
class Dropped:
    """A site that the coordinator left out, by its word."""

    site: str
    name: str | None
    reason: str
    evidence: str


@dataclass(frozen=True)
class Round:
    """All about one closing of a round.

    Attributes:
        previous: the closing it was built on: None for round 1.
        record: as the chain has it, by the contract's names.
        deadline: until when the round had to be closed; None where it is not known.
        missed: members that are neither among the entries nor the dropped.
        others: other closings of the same round.
        events: of this round, oldest first, at most 500.
        raw: the signed transaction that closed it; None until it was looked up.
    """

    summary: RoundSummary
    record: Mapping[str, Any]
    previous: RoundSummary | None
    opened_at: int | None
    deadline: int | None
    manifest: Object
    entries: list[Entry]
    dropped: list[Dropped]
    missed: list[Member]
    others: list[RoundSummary]
    events: list[EventRow]
    raw: str | None
    extent: Extent


@dataclass(frozen=True)
class OpenRound:
    """The round being worked on: nothing of it is on chain but registrations."""

    study: str
    round: int
    coordinator: str | None
    opened_at: int
    deadline: int
    takeover_at: int | None
    base_model: str
    members: list[Member]
    events: list[EventRow]
    extent: Extent


@dataclass(frozen=True)
class Point:
    """One round of a study's charts, of rounds that stand.

    Attributes:
        scores, weights, rewards: by site.
        metrics: by name and site, as the sites' reports state them.
        statement: what the run's folder says besides; not on chain.
    """

    round: int
    closed_at: int
    model: str
    gas: int | None
    weights: Mapping[str, int]
    scores: Mapping[str, int]
    rewards: Mapping[str, str]
    metrics: Mapping[str, Mapping[str, float]]
    statement: Mapping[str, Any] | None


@dataclass(frozen=True)
class SiteActivity:
    """Everything about an address as a site.

    Attributes:
        memberships: in every study.
        contributions: newest first, in pages.
    """

    site: str
    name: str | None
    memberships: list[Member]
    contributions: Page[SiteContribution]
    extent: Extent


@dataclass(frozen=True)
class SiteContribution:
    """Something a site signed, and what came of it."""

    cursor: str
    study: str
    round: int
    commitment: str
    state: str
    weight: int
    update: str
    score: int | None
    reward: str | None
    closed_at: int
    block_hash: str
    transaction: str


@dataclass(frozen=True)
class Hit:
    """Something that a search found.

    Attributes:
        kind: ``study``, ``round``, ``site``, ``address``, ``transaction``, ``block``, ``model``,
            ``update``, ``manifest``, ``report``, ``specification``, ``contributions``,
            ``rewards``, ``commitment`` or ``demand``.
        title: in words.
        study, round, commitment, address, transaction, block: what it leads to, as far as known.
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
class Transaction:
    """A transaction with its events. ``raw`` is as it was signed, where the node gave it."""

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
class Block:
    """A block of the index with its events."""

    number: int
    hash: str
    parent: str
    timestamp: int
    final: bool
    events: list[EventRow]
