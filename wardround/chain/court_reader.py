"""The views and events of Court, typed.

Source:
    ICourt.sol
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from eth_abi import encode
from eth_utils import keccak

from wardround.chain.blocks import Receipt
from wardround.chain.bound import BoundContract
from wardround.chain.court_events import (
    Answered,
    ContributionAnswered,
    CourtEvent,
    Demanded,
    TallyOpened,
    read_court_events,
)
from wardround.chain.events import Registered
from wardround.chain.study_state import Registration
from wardround.chain.ward_round import WardRound
from wardround.protocol.evidence import Demand, Leaf, What
from wardround.protocol.identifiers import StudyId
from wardround.protocol.merkle import CHUNK_BYTES
from wardround.protocol.record import ZERO_ADDRESS, Closing


class DemandStatus(IntEnum):
    """What became of a demand, in the contract's order."""

    NONE = 0
    OPEN = 1
    ANSWERED = 2
    CLOSED = 3


@dataclass(frozen=True)
class Contested:
    """A closed round as the contract takes it: its closing, and the one before."""

    study: StudyId
    round: int
    closing: Closing
    previous: Closing


@dataclass(frozen=True)
class DemandState:
    """The present state of a demand."""

    study: StudyId
    commitment: bytes
    root: bytes
    size: int
    index: int
    length: int
    round: int
    deadline: int
    status: DemandStatus
    what: What
    row: int
    demander: str
    deposit: int


@dataclass(frozen=True)
class RegistrationState:
    """What became of a registered contribution.

    Attributes:
        payer: the coordinator that demanded its bytes last.
        deadline: until when they can be shown; 0 when none were demanded.
        demanded: how many chunks were demanded: the first ones.
        shown: how many of these were shown.
        refused: whether its update was shown to exceed the bound or to leave a model's range.
        settled: whether its deposit was credited.
    """

    payer: str
    deadline: int
    demanded: int
    shown: int
    refused: bool
    settled: bool

    @property
    def unanswered(self) -> int:
        """Chunks that are demanded and not shown."""
        return self.demanded - self.shown


@dataclass(frozen=True)
class TallyState:
    """The present state of a tally. ``owner`` is zero once it is finished or closed.

    ``ranks`` is what was counted: see CourtTypes.sol.
    """

    study: StudyId
    commitment: bytes
    owner: str
    round: int
    coordinate: int
    count: int
    low: int
    high: int
    base: int
    model: int
    until: int
    limit: int
    rows: bytes
    size: int
    ranks: tuple[int, ...]

    @property
    def end(self) -> int:
        """Until when it can be extended."""
        return min(self.until, self.limit)


def demand_id_of(
    study: StudyId, round_number: int, commitment: bytes, what: What, index: int, place: int
) -> bytes:
    """The id of a demand about a closing.

    Source:
        Demands.sol, demandIdOf.
    """
    types = ["bytes32", "uint32", "bytes32", "uint8", "uint32", "uint32"]
    return keccak(encode(types, [study, round_number, commitment, what, index, place]))


class CourtReader(BoundContract):
    """What the court of a WardRound contract answers; nothing is sent."""

    ARTIFACT = "Court"

    def __init__(self, ward: WardRound) -> None:
        super().__init__(ward.chain, ward.court())
        self.ward = ward

    def stands(self, contested: Contested) -> bool:
        """Whether a closing, or the open round's lock, is still its round's."""
        return self.is_valid(contested.study, contested.round, contested.closing)

    def is_valid(self, study: StudyId, round_number: int, closing: Closing) -> bool:
        """As `stands`, of a closing or a lock by itself."""
        stored, state = self.ward.commitment(study, round_number), self.ward.study(study)
        is_locked = round_number == state.head and state.locked_by != ZERO_ADDRESS
        return (round_number < state.head or is_locked) and stored == closing.commitment

    def demand_id(self, contested: Contested, demand: Demand) -> bytes:
        """The id of a demand, as the contract computes it too."""
        commitment = contested.closing.commitment
        place = (demand.what, demand.index, demand.place)
        return demand_id_of(contested.study, contested.round, commitment, *place)

    def demand_of(self, demand: bytes) -> DemandState:
        """Read a demand's state; all zero when it was never made."""
        values = list(self._ask("demandOf", demand))
        values[8:10] = DemandStatus(values[8]), What(values[9])
        return DemandState(*values)

    def tally_of(self, tally: int) -> TallyState:
        """Read a tally's state."""
        return TallyState(*self._ask("tallyOf", tally))

    def commitment_of(
        self,
        study: StudyId,
        round_number: int,
        closing: Closing,
        challenger: str,
        commitment: bytes,
    ) -> tuple[int, bool]:
        """Of a committed challenge: until when it can be revealed, and whether it is open.

        The first is 0 when it was never made.
        """
        where = (study, round_number, closing.commitment)
        until, is_open = self._ask("commitmentOf", *where, challenger, commitment)
        return until, is_open

    def standing(
        self, study: StudyId, round_number: int, previous: bytes, site: str
    ) -> RegistrationState:
        """The present state of a registered contribution; all zero while nothing was demanded.

        Args:
            previous: commitment of the round before, on top of which it was registered.
        """
        values = self._ask("standing", study, round_number, previous, site)
        return RegistrationState(*values)

    def registration(self, event: Registered) -> Registration:
        """A registered contribution with what became of it."""
        state = self.standing(event.study, event.round, event.previous, event.site)
        return Registration(
            event.round,
            event.site,
            event.entry,
            event.registered_at,
            deadline=state.deadline,
            unanswered=state.unanswered,
            refused=state.refused,
        )

    def shown_of(self, study: StudyId, round_number: int, previous: bytes, site: str) -> bytes:
        """The bytes of a registered update that were shown so far: its first chunks."""
        where = [study, round_number.to_bytes(32, "big"), bytes(12) + bytes.fromhex(site[2:])]
        topics = [self.contract.event_topic("ContributionAnswered"), *where]
        events = read_court_events(self.contract, self.chain.logs(self.address, topics))
        shown = b""
        for event in events:
            if isinstance(event, ContributionAnswered) and event.previous == previous:
                start = event.first * CHUNK_BYTES
                # Several accounts may show the same chunks; the contract has checked each.
                if start + len(event.data) > len(shown):
                    shown = shown[:start] + event.data
        return shown

    # ---------------------------------------------------------------- events

    def events(
        self, study: StudyId | None = None, from_block: int = 0, to_block: int | None = None
    ) -> list[CourtEvent]:
        """What happened in court, to one study or to all, in chain order.

        Events that name a demand or a tally instead of a study come only with all.
        """
        topics = [] if study is None else [None, study]
        logs = self.chain.logs(self.address, topics, from_block, to_block)
        return read_court_events(self.contract, logs)

    def demands(self, study: StudyId, from_block: int, to_block: int) -> list[Demanded]:
        """What was demanded of a study's closed rounds in some blocks."""
        topics = [self.contract.event_topic("Demanded"), study]
        logs = self.chain.logs(self.address, topics, from_block, to_block)
        events = read_court_events(self.contract, logs)
        return [event for event in events if isinstance(event, Demanded)]

    def answers(self, from_block: int, to_block: int) -> list[Answered]:
        """What was shown in some blocks for demands about all studies."""
        topics = [self.contract.event_topic("Answered")]
        logs = self.chain.logs(self.address, topics, from_block, to_block)
        events = read_court_events(self.contract, logs)
        return [event for event in events if isinstance(event, Answered)]

    def events_of(self, receipt: Receipt) -> list[CourtEvent]:
        """What one transaction did in court."""
        return read_court_events(self.contract, receipt.logs)

    def opening(self, demand: bytes) -> bytes | None:
        """All that was shown for a demand, paths included; None while nothing was."""
        topics = [self.contract.event_topic("Answered"), demand]
        for event in read_court_events(self.contract, self.chain.logs(self.address, topics)):
            if isinstance(event, Answered):
                return event.opening
        return None

    def answer(self, demand: bytes) -> bytes | None:
        """The chunk or entry that was shown for a demand; None while nothing was."""
        leaf = self._shown(demand, self.demand_of(demand))
        return None if leaf is None else leaf.data

    def shown_entries(self, study: StudyId, round_number: int, closing: Closing) -> list[Leaf]:
        """Entries of a closing that answers to demands have shown, by their places."""
        leaves = []
        for event in self.events(study):
            if not isinstance(event, Demanded):
                continue
            if (event.round, event.what) != (round_number, What.ENTRY):
                continue
            state = self.demand_of(event.demand)
            if state.commitment != closing.commitment:
                continue
            leaf = self._shown(event.demand, state)
            if leaf is not None:
                leaves.append(leaf)
        return sorted(leaves, key=lambda leaf: leaf.index)

    def own_tally(self, owner: str, contested: Contested, coordinate: int) -> int | None:
        """Find a tally of one's own about a closing that can still be gone on with."""
        for event in reversed(self.events(contested.study)):
            if not isinstance(event, TallyOpened) or event.challenger != owner:
                continue
            state = self.tally_of(event.tally)
            found = (state.owner, state.commitment, state.coordinate)
            wanted = (owner, contested.closing.commitment, coordinate)
            if found == wanted and self.chain.timestamp() < state.end:
                return event.tally
        return None

    # ---------------------------------------------------------------- inside

    def _shown(self, demand: bytes, state: DemandState) -> Leaf | None:
        """The leaf that was shown for a demand, with its path; None while nothing was."""
        opening = self.opening(demand)
        return None if opening is None else Leaf.opened(state.index, opening, state.length)
