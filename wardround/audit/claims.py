"""Pay sites what they have earned: find their entries in final rounds, and claim their shares.

A share follows from an entry's weight (`wardround.protocol.rewards`). Entries come from the
manifests in the store, from the chain's own calldata where rounds are recorded in full, or from
answers to demands for them; each is held against the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from eth_account.signers.local import LocalAccount

from wardround.audit.partial_manifest import PartialManifest
from wardround.chain.blocks import Receipt
from wardround.chain.court_events import Demanded
from wardround.chain.court_reader import CourtReader
from wardround.chain.events import Claimed
from wardround.chain.ward_round import WardRound
from wardround.host.screen import utc
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.commitments import (
    ROW_BYTES,
    SCORES,
    commitments_root,
    named_leaves,
    names_of,
    running_total_of,
    score_of,
    split_rows,
)
from wardround.protocol.contribution import unpack_entries
from wardround.protocol.errors import ProtocolError, SpecificationError
from wardround.protocol.evidence import Leaf, What
from wardround.protocol.identifiers import SiteAddress, StudyId, hex_of
from wardround.protocol.inspection import entry_leaf, split_entries
from wardround.protocol.merkle import entries_root, is_included, leaf_hash
from wardround.protocol.record import Closing, ScoringId
from wardround.protocol.rewards import Earning, ScoreProof, share_floor, shares_floor
from wardround.protocol.whole_evidence import path_length
from wardround.store import Store
from wardround.store.errors import ObjectMissing, StoreError

#: Rounds in one transaction: with a thousand sites their proofs fill half of its calldata.
ROUNDS_AT_ONCE = 50


@dataclass(frozen=True)
class ShownScores:
    """Rows of ``scores`` that a record commits to, by place: all, or those that are shown.

    Attributes:
        count: of all.
        named: ``scores`` among the record's named commitments, with its path; None with no rows.
        paths: of single rows, where not all are shown.
    """

    count: int
    rows: Mapping[int, bytes] = field(default_factory=dict)
    named: Leaf | None = None
    paths: Mapping[int, Leaf] = field(default_factory=dict)

    def proof(self, place: int) -> ScoreProof | None:
        """An entry's score with the sum of all; None where one of the two is not shown."""
        last = self.count - 1
        if self.named is None or place not in self.rows or last not in self.rows:
            return None
        if self.paths:
            return ScoreProof(self.named, self.paths[place], self.paths[last])
        rows = [self.rows[index] for index in range(self.count)]
        return ScoreProof(self.named, entry_leaf(rows, place), entry_leaf(rows, last))


@dataclass(frozen=True)
class RoundEntries:
    """A closed round with its entries, packed, in the order of the record's tree.

    Attributes:
        packed: all of them, or those that are shown.
        leaves: the same with their places, where not all are shown.
        scores: where the study pays by them.
    """

    round: int
    closing: Closing
    packed: tuple[bytes, ...]
    leaves: tuple[Leaf, ...] = ()
    scores: ShownScores | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all entries of the round are shown, and all scores."""
        count = self.closing.record.count
        scored = self.scores is None or len(self.scores.rows) == count
        return bool(self.packed) and not self.leaves and scored

    def earning(self, site: SiteAddress) -> Earning | None:
        """What a site claims of the round; None where no entry of its own, or score, is shown."""
        key = bytes.fromhex(site[2:])
        for index, entry in enumerate(self.packed):
            if entry[:20] == key:
                leaf = self.leaves[index] if self.leaves else entry_leaf(self.packed, index)
                if self.scores is None:
                    return Earning(self.round, self.closing, leaf)
                score = self.scores.proof(leaf.index)
                return None if score is None else Earning(self.round, self.closing, leaf, score)
        return None

    def shares(self, reward: int) -> dict[SiteAddress, int]:
        """What each site whose entry and score are shown earns, in the token's smallest unit."""
        entries = unpack_entries(b"".join(self.packed))
        if self.scores is None:
            return shares_floor(reward, entries, self.closing.record.total_weight)
        last = self.scores.rows.get(self.closing.record.count - 1)
        if last is None:
            return {}
        places = [leaf.index for leaf in self.leaves] or range(len(entries))
        pairs = [
            (entry, self.scores.rows[place])
            for entry, place in zip(entries, places, strict=True)
            if place in self.scores.rows
        ]
        total = running_total_of(last)
        if not total:
            shown = [entry for entry, _ in pairs]
            return shares_floor(reward, shown, self.closing.record.total_weight)
        return {entry.site: share_floor(reward, score_of(row), total) for entry, row in pairs}


@dataclass(frozen=True)
class Claimable:
    """The final rounds of a study.

    Attributes:
        rounds: those of which entries are shown.
        hidden: numbers of those of which entries, or the scores they are paid by, are not shown.
        waiting: numbers of the closed rounds that are not final.
        reward: what a round pays, in the token's smallest unit.
        scored: whether the study pays by scores.
    """

    rounds: Sequence[RoundEntries]
    hidden: Sequence[int]
    waiting: Sequence[int]
    reward: int
    scored: bool = False

    def sites(self) -> list[SiteAddress]:
        """All whose entries are shown, ascending."""
        return sorted({site for one in self.rounds for site in one.shares(self.reward)})

    def left_out(self) -> list[str]:
        """Which rounds no claim can bring in now, and why, in words."""
        what = "entries and scores" if self.scored else "entries"
        words = [
            f"round {number}: not all {what} are shown: claim where the store has them"
            for number in self.hidden
        ]
        if self.waiting:
            words.append(f"{rounds_in_words(self.waiting)}: closed and not final yet: claim later")
        return words


@dataclass(frozen=True)
class Payment:
    """What one transaction paid a site.

    Attributes:
        amounts: by round, in the token's smallest unit.
    """

    receipt: Receipt
    payout: str
    amounts: Mapping[int, int]

    @property
    def amount(self) -> int:
        """All of it."""
        return sum(self.amounts.values())


def claimable(ward: WardRound, study: StudyId, store: Store) -> Claimable:
    """Find the final rounds and their entries.

    Raises:
        SpecificationError: no round was closed, or none is final yet; names the time.
        ObjectMissing: no final round's entries are shown.
    """
    final, what = ward.final_closings(study), f"study {hex_of(study)}"
    state = ward.study(study)
    if not final:
        closings = ward.closings(study)
        if not closings:
            raise SpecificationError(what, "no round was closed, so nothing was earned")
        until = closings[0][1].closed_at + state.challenge_seconds
        when = utc(until)
        raise SpecificationError(what, f"round 1 is not final before {when}: claim after that")
    scored = state.scoring is ScoringId.PROJECTION
    found = [_shown(ward, study, store, number, closing, scored) for number, closing in final]
    shown = [one for one in found if one.shares(state.reward_per_round)]
    if not shown:
        raise ObjectMissing(cid_from_sha256(final[-1][1].record.manifest), "the store")
    hidden = [one.round for one in found if not one.is_whole]
    waiting = range(len(final) + 1, state.head)
    return Claimable(shown, hidden, waiting, state.reward_per_round, scored)


def _shown(
    ward: WardRound, study: StudyId, store: Store, number: int, closing: Closing, scored: bool
) -> RoundEntries:
    """Read what a closed round pays by, as far as store and chain show it."""
    found = shown_entries(ward, study, store, number, closing)
    if not scored:
        return found
    manifest, record = PartialManifest.read(store, closing.record.manifest), closing.record
    root = manifest.commitments.get(SCORES, b"")
    try:
        data = store.map(manifest.cids.get(root, ""), record.count * ROW_BYTES[SCORES])
        rows = split_rows(SCORES, bytes(data))
    except (StoreError, ProtocolError):
        rows = []
    is_named = commitments_root(manifest.commitments) == record.commitments
    if is_named and len(rows) == record.count and entries_root(rows) == root:
        leaves = named_leaves(manifest.commitments)
        named = entry_leaf(leaves, sorted(manifest.commitments).index(SCORES))
        return replace(found, scores=ShownScores(record.count, dict(enumerate(rows)), named))
    return replace(found, scores=_answered_scores(ward, study, number, closing))


def _answered_scores(ward: WardRound, study: StudyId, number: int, closing: Closing) -> ShownScores:
    """Read the scores that answers to demands have shown; the contract has checked them."""
    court, state, count = CourtReader(ward), ward.study(study), closing.record.count
    names = names_of(state.rule, state.scoring)
    place, named = names.index(SCORES), None
    paths: dict[int, Leaf] = {}
    for event in court.events(study):
        if not isinstance(event, Demanded) or event.what is not What.SCORES:
            continue
        demand, opening = court.demand_of(event.demand), court.opening(event.demand)
        if (demand.round, demand.commitment) != (number, closing.commitment) or opening is None:
            continue
        at = demand.row
        ends = 64 + 32 * path_length(place, len(names))
        row = ROW_BYTES[SCORES] + 32 * path_length(at, count)
        named = Leaf.opened(place, opening[:ends], 64)
        paths[at] = Leaf.opened(at, opening[ends : ends + row], ROW_BYTES[SCORES])
    return ShownScores(count, {index: leaf.data for index, leaf in paths.items()}, named, paths)


def shown_entries(
    ward: WardRound, study: StudyId, store: Store, number: int, closing: Closing
) -> RoundEntries:
    """Read the entries of a closed round, as many as store and chain show."""
    record = closing.record

    def is_whole(entries: Sequence[bytes]) -> bool:
        return entries_root(entries) == record.contributions

    entries = split_entries(PartialManifest.read(store, record.manifest).entries or b"")
    if not is_whole(entries):
        entries = split_entries(ward.closed(study, number).entries or b"")
    if is_whole(entries):
        return RoundEntries(number, closing, tuple(entries))
    answered = CourtReader(ward).shown_entries(study, number, closing)
    if is_whole([leaf.data for leaf in answered]):
        return RoundEntries(number, closing, tuple(leaf.data for leaf in answered))
    leaves = tuple(
        leaf
        for leaf in answered
        if is_included(
            record.contributions, leaf_hash(leaf.data), leaf.index, record.count, leaf.path
        )
    )
    return RoundEntries(number, closing, tuple(leaf.data for leaf in leaves), leaves)


def round_entries(
    ward: WardRound, study: StudyId, store: Store, number: int, closing: Closing
) -> RoundEntries:
    """Read all entries of a closed round, and the scores that it pays by.

    Raises:
        ObjectMissing: neither its manifest nor the chain shows those of the record.
    """
    scored = ward.study(study).scoring is ScoringId.PROJECTION
    found = _shown(ward, study, store, number, closing, scored)
    if not found.is_whole:
        raise ObjectMissing(cid_from_sha256(closing.record.manifest), "the store")
    return found


def earned_so_far(ward: WardRound, study: StudyId, store: Store) -> Counter[SiteAddress]:
    """What each site has earned by all closed rounds, final or not, in the token's smallest unit.

    Raises:
        ObjectMissing: a round's entries are nowhere.
    """
    reward = ward.study(study).reward_per_round
    earned: Counter[SiteAddress] = Counter()
    for number, closing in ward.closings(study):
        earned.update(round_entries(ward, study, store, number, closing).shares(reward))
    return earned


def claim_for(
    ward: WardRound, payer: LocalAccount, study: StudyId, found: Claimable, site: SiteAddress
) -> Iterator[Payment]:
    """Let the contract pay a site for every round that it was not paid for, in order.

    Returns:
        One payment a transaction; none where nothing is due.
    """
    paid = ward.claims(study, site)
    earnings = [one.earning(site) for one in found.rounds if one.round not in paid]
    due = [one for one in earnings if one is not None]
    for start in range(0, len(due), ROUNDS_AT_ONCE):
        batch = due[start : start + ROUNDS_AT_ONCE]
        if not any(one.share(found.reward) for one in batch):
            continue  # a transaction that pays nothing
        receipt = ward.claim(payer, study, site, batch)
        if receipt is not None:
            events = [one for one in ward.events_of(receipt) if isinstance(one, Claimed)]
            yield Payment(receipt, events[0].payout, {one.round: one.amount for one in events})


def rounds_in_words(numbers: Sequence[int]) -> str:
    """Name rounds, ascending: ``round 3``, ``rounds 1 to 10``, ``rounds 1, 2 and 5``."""
    first, last = numbers[0], numbers[-1]
    if first == last:
        return f"round {first}"
    if len(numbers) == last - first + 1:
        return f"rounds {first} to {last}"
    return f"rounds {', '.join(map(str, numbers[:-1]))} and {last}"
