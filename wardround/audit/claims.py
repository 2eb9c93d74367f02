"""Pay sites what they have earned: find their entries in final rounds, and claim their shares.

A share follows from an entry's weight (`wardround.protocol.rewards`). Entries come from the
manifests in the store, or from the chain's own calldata where rounds are recorded in full; either
way they are held against the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from eth_account.signers.local import LocalAccount

from wardround.audit.partial_manifest import PartialManifest
from wardround.chain.blocks import Receipt
from wardround.chain.events import Claimed
from wardround.chain.ward_round import WardRound
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.contribution import unpack_entries
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import SiteAddress, StudyId, hex_of
from wardround.protocol.inspection import entry_leaf, split_entries
from wardround.protocol.merkle import entries_root
from wardround.protocol.record import Closing
from wardround.protocol.rewards import Earning, shares_floor
from wardround.store import Store
from wardround.store.errors import ObjectMissing

#: Rounds in one transaction: with a thousand sites their proofs fill half of its calldata.
ROUNDS_AT_ONCE = 50


@dataclass(frozen=True)
class RoundEntries:
    """A closed round with its entries: packed, in the order of the record's tree."""

    round: int
    closing: Closing
    packed: tuple[bytes, ...]

    def earning(self, site: SiteAddress) -> Earning | None:
        """What a site claims of the round; None where it has no entry."""
        key = bytes.fromhex(site[2:])
        for index, entry in enumerate(self.packed):
            if entry[:20] == key:
                return Earning(self.round, self.closing, entry_leaf(self.packed, index))
        return None

    def shares(self, reward: int) -> dict[SiteAddress, int]:
        """What each site earns by the round, in the token's smallest unit."""
        entries = unpack_entries(b"".join(self.packed))
        return shares_floor(reward, entries, self.closing.record.total_weight)


@dataclass(frozen=True)
class Claimable:
    """The final rounds of a study.

    Attributes:
        rounds: those whose entries are shown.
        hidden: numbers of the others.
        reward: what a round pays, in the token's smallest unit.
    """

    rounds: Sequence[RoundEntries]
    hidden: Sequence[int]
    reward: int

    def sites(self) -> list[SiteAddress]:
        """All that have an entry, ascending."""
        return sorted({site for one in self.rounds for site in one.shares(self.reward)})


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
        when = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        raise SpecificationError(what, f"round 1 is not final before {when}: claim after that")
    rounds: list[RoundEntries] = []
    missing: list[tuple[int, ObjectMissing]] = []
    for number, closing in final:
        try:
            rounds.append(round_entries(ward, study, store, number, closing))
        except ObjectMissing as error:
            missing.append((number, error))
    if not rounds:
        raise missing[-1][1]
    return Claimable(rounds, [number for number, _ in missing], state.reward_per_round)


def round_entries(
    ward: WardRound, study: StudyId, store: Store, number: int, closing: Closing
) -> RoundEntries:
    """Read the entries of a closed round.

    Raises:
        ObjectMissing: neither its manifest nor its transaction shows those of the record.
    """
    record = closing.record
    packed = PartialManifest.read(store, record.manifest).entries
    if packed is None or entries_root(split_entries(packed)) != record.contributions:
        packed = ward.closed(study, number).entries
    if packed is None or entries_root(split_entries(packed)) != record.contributions:
        raise ObjectMissing(cid_from_sha256(record.manifest), "the store")
    return RoundEntries(number, closing, tuple(split_entries(packed)))


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
