"""The Court contract in Python: every challenge and demand, typed; `court_reader` has the views.

Each method that sends may be called again after any failure: it asks the chain first whether its
effect is there, and then sends nothing and returns None. The effect of a challenge is that its
closing is overturned, by this or any other challenger.

Source:
    ICourt.sol
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.contract import Call
from wardround.chain.court_reader import Contested, CourtReader, DemandStatus
from wardround.chain.errors import ContractReverted, TransactionRefused, TransactionTimedOut
from wardround.chain.study_token import StudyToken
from wardround.host.backoff import pauses
from wardround.protocol.evidence import (
    CALLDATA_LIMIT,
    Chunks,
    CoordinateEvidence,
    Demand,
    EntryEvidence,
    Evidence,
    Leaf,
    OmissionEvidence,
    OrderEvidence,
    TotalsEvidence,
    UpdateEvidence,
    What,
)
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.protocol.record import NO_CLOSING, ZERO_ADDRESS, Closing
from wardround.protocol.whole_evidence import NodeEvidence, RankEvidence, ScoreEvidence

#: Sentinel: the tally only counts.
NO_COORDINATE = 2**32 - 1
#: Of calls in one transaction: below what a chain takes, also with the margin of an estimate.
_BATCH_GAS = 12_000_000
#: About what a demand or an answer needs, and each byte of it.
_PART_GAS, _BYTE_GAS = 180_000, 16
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class CourtCall:
    """A call of the court that can be sent with others, and how to see that it was made."""

    call: Call
    label: str
    is_done: Callable[[], bool]


@dataclass(frozen=True)
class SentCalls:
    """What became of calls in one transaction; without a receipt or error others have made them."""

    parts: Sequence[CourtCall]
    receipt: Receipt | None
    error: ContractReverted | TransactionRefused | TransactionTimedOut | None = None


def _bytes(parts: Sequence[CourtCall]) -> int:
    # Each has an offset and a length, and is padded.
    return sum(len(part.call.data) + 96 for part in parts)


def _gas(parts: Sequence[CourtCall]) -> int:
    return sum(_PART_GAS + _BYTE_GAS * len(part.call.data) for part in parts)


class Court(CourtReader):
    """The court of a WardRound contract."""

    # ---------------------------------------------------------------- challenges

    def challenge(
        self, signer: LocalAccount, contested: Contested, evidence: Evidence
    ) -> Receipt | None:
        """Prove a breach in one transaction.

        Args:
            signer: pays for gas, and has the challenger's part of the bond.
            contested: the round.
            evidence: of any kind but a demand.
        """
        arguments = _arguments(contested.previous.abi(), evidence)
        return self._challenge(signer, contested, evidence.challenge, *arguments)

    def challenge_data(self, contested: Contested, evidence: Evidence) -> bytes:
        """The calldata of `challenge`, to commit to and reveal."""
        where = (contested.study, contested.round, contested.closing.abi())
        arguments = _arguments(contested.previous.abi(), evidence)
        return self._call(evidence.challenge, *where, *arguments).data

    def try_challenge(self, sender: str, contested: Contested, evidence: Evidence) -> None:
        """Let the node judge a challenge, without sending it.

        Raises:
            ContractReverted: the evidence proves nothing.
        """
        where = (contested.study, contested.round, contested.closing.abi())
        arguments = _arguments(contested.previous.abi(), evidence)
        with self.chain.at_head():
            self.chain.call(self._call(evidence.challenge, *where, *arguments), sender)

    # ---------------------------------------------------------------- commitments

    def approve_deposit(
        self, signer: LocalAccount, study: StudyId, count: int = 1
    ) -> Receipt | None:
        """Let the contract take what demands, a tally or a commitment are made against.

        Raises:
            TransactionRefused: the signer holds fewer tokens.
        """
        state = self.ward.study(study)
        token, amount = StudyToken(self.chain, state.token), count * state.deposit
        token.require(signer.address, amount)
        return token.approve(signer, self.ward.address, amount)

    def payable_deposits(self, account: str, study: StudyId, count: int = 1) -> int:
        """How many of so many deposits an account has the tokens for."""
        state = self.ward.study(study)
        held = StudyToken(self.chain, state.token).balance_of(account)
        return min(count, held // state.deposit) if state.deposit else count

    def commit_challenge(
        self, signer: LocalAccount, contested: Contested, commitment: bytes
    ) -> Receipt | None:
        """Commit to a challenge, against a deposit that the signer has approved."""
        where = (contested.study, contested.round, contested.closing)
        return self._challenge(
            signer,
            contested,
            "commitChallenge",
            commitment,
            done=lambda: self.commitment_of(*where, signer.address, commitment)[0] > 0,
        )

    def reveal_challenge(
        self, signer: LocalAccount, contested: Contested, salt: bytes, data: bytes
    ) -> Receipt | None:
        """Make a challenge that was committed to; None when another one was first.

        Raises:
            ContractReverted: it proves nothing, comes too late, or no block came behind that
                of the commitment.
        """
        deadline = time.monotonic() + self.chain.timeout_seconds
        pause = pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        while True:
            try:
                return self._challenge(signer, contested, "revealChallenge", salt, data)
            except ContractReverted as error:
                # A node may judge it as of the commitment's own block, which is too early.
                if error.name != "Court_TooEarly" or time.monotonic() > deadline:
                    raise
            time.sleep(next(pause))

    def close_commitment(
        self,
        signer: LocalAccount,
        study: StudyId,
        round_number: int,
        closing: Closing,
        challenger: str,
        commitment: bytes,
    ) -> Receipt | None:
        """End a commitment whose time to be revealed is over, or whose round is overturned."""
        mine = (challenger, commitment)
        call = self._call("closeCommitment", study, round_number, closing.abi(), *mine)
        return self._send(
            signer,
            call,
            f"close commitment {hex_of(commitment)}",
            lambda: not self.commitment_of(study, round_number, closing, *mine)[1],
        )

    # ---------------------------------------------------------------- tallies

    def open_tally(
        self,
        signer: LocalAccount,
        contested: Contested,
        evidence: CoordinateEvidence | None,
        bounds: tuple[int, int] = (0, 0),
    ) -> Receipt | None:
        """Begin to count a round of more entries than one transaction carries.

        Args:
            signer: the only one who may go on with it; has approved the deposit.
            contested: the round.
            evidence: for a coordinate; None to count entries and weights only.
            bounds: the two order statistics of the rule; see `CoordinateEvidence`.
        """
        start: tuple[Any, ...] = (NO_COORDINATE, 0, 0, b"", b"", b"")
        if evidence is not None:
            openings = (evidence.base.opening, evidence.model.opening)
            start = (evidence.coordinate, *bounds, *openings, evidence.named)
        arguments = (contested.previous.abi(), start)
        return self._challenge(
            signer,
            contested,
            "openTally",
            *arguments,
            done=lambda: self.own_tally(signer.address, contested, start[0]) is not None,
        )

    def add_to_tally(
        self,
        signer: LocalAccount,
        tally: int,
        counted: int,
        entries: bytes,
        updates: bytes,
        rows: bytes = b"",
    ) -> Receipt | None:
        """Count the next entries; `counted` of them were counted before.

        Args:
            signer: the tally's.
            tally: its number.
            counted: entries before these.
            entries: packed.
            updates: openings; see `CoordinateEvidence`.
            rows: all norms or ranks, where the rule takes them.
        """
        call = self._call("addToTally", tally, entries, updates, rows)
        return self._send(
            signer, call, f"add to tally {tally}", lambda: self.tally_of(tally).count > counted
        )

    def finish_tally(
        self, signer: LocalAccount, contested: Contested, tally: int
    ) -> Receipt | None:
        """Overturn the round if the tally shows that its record is wrong."""
        call = self._call("finishTally", tally, contested.closing.abi())
        return self._send(signer, call, f"finish tally {tally}", lambda: not self.stands(contested))

    def close_tally(self, signer: LocalAccount, tally: int, closing: Closing) -> Receipt | None:
        """End a tally that nothing extended in time, or whose round is overturned."""
        call = self._call("closeTally", tally, closing.abi())
        return self._send(
            signer,
            call,
            f"close tally {tally}",
            lambda: self.tally_of(tally).owner == ZERO_ADDRESS,
        )

    # ---------------------------------------------------------------- demands

    def demand_chunk(
        self, signer: LocalAccount, contested: Contested, demand: Demand
    ) -> Receipt | None:
        """Demand data, against a deposit that the signer has approved to the WardRound."""
        return self._send_part(signer, self.demanding(contested, demand))

    def demanding(self, contested: Contested, demand: Demand) -> CourtCall:
        """A demand, to be made together with others: see `demand_chunk` and `send_together`."""
        entry = demand.entry or Leaf(0, b"", ())
        target = (demand.what, demand.index, demand.place, entry.data, list(entry.path))
        where = (contested.study, contested.round, contested.closing.abi())
        identifier = self.demand_id(contested, demand)

        def is_done() -> bool:
            made = self.demand_of(identifier).status is not DemandStatus.NONE
            return made or not self.stands(contested)

        call = self._call("demandChunk", *where, contested.previous.abi(), target)
        return CourtCall(call, f"demandChunk of round {contested.round}", is_done)

    def answer_demand(
        self, signer: LocalAccount, demand: bytes, closing: Closing, leaf: Leaf
    ) -> Receipt | None:
        """Show what was demanded, and earn half of the deposit.

        Args:
            signer: pays for gas; any account.
            demand: its id.
            closing: of the round that the data belongs to; its coordinator has the other half.
            leaf: the data; of a named commitment the openings of its root, of a row and of a page,
                one behind the other, without a path behind them.
        """
        return self._send_part(signer, self.answering(demand, closing, leaf))

    def answering(self, demand: bytes, closing: Closing, leaf: Leaf) -> CourtCall:
        """An answer, to be given together with others: see `answer_demand`, `send_together`."""
        call = self._call("answerDemand", demand, closing.abi(), leaf.opening)

        def is_done() -> bool:
            state = self.demand_of(demand)
            stands = self.is_valid(state.study, state.round, closing)
            return state.status is not DemandStatus.OPEN or not stands

        return CourtCall(call, f"answer demand {hex_of(demand)}", is_done)

    def close_demand(self, signer: LocalAccount, demand: bytes, closing: Closing) -> Receipt | None:
        """Overturn the round whose data was not shown by the deadline."""
        call = self._call("closeDemand", demand, closing.abi())
        return self._send(
            signer,
            call,
            f"close demand {hex_of(demand)}",
            lambda: self.demand_of(demand).status is not DemandStatus.OPEN,
        )

    # ---------------------------------------------------------------- registered contributions

    def demand_contribution(
        self,
        coordinator: LocalAccount,
        study: StudyId,
        round_number: int,
        previous: bytes,
        site: str,
        chunks: tuple[int, int],
    ) -> Receipt | None:
        """Ask a site for chunks of the update that it registered, for a part of a deposit.

        Args:
            coordinator: the active one; has approved the deposit.
            study: the study.
            round_number: the open round.
            previous: commitment of the round before.
            site: the site.
            chunks: how many were demanded before, and how many are with this.
        """
        first, end = chunks
        call = self._call("demandContribution", study, round_number, site, first, end - first)
        return self._send(
            coordinator,
            call,
            f"demand chunks {first} to {end - 1} of {site}",
            lambda: self.standing(study, round_number, previous, site).demanded >= end,
        )

    def answer_contribution(
        self,
        signer: LocalAccount,
        study: StudyId,
        round_number: int,
        previous: bytes,
        entry: bytes,
        chunks: Chunks,
    ) -> Receipt | None:
        """Show the next chunks of a registered update, and earn what was paid for them."""
        site = "0x" + entry[:20].hex()
        where = (study, round_number, previous)
        first, end = chunks.first, chunks.first + chunks.count
        shown = (first, chunks.data, list(chunks.path))
        call = self._call("answerContribution", *where, entry, *shown)
        return self._send(
            signer,
            call,
            f"show chunks {first} to {end - 1} of {site}",
            lambda: self.standing(*where, site).shown >= end,
        )

    def close_contribution(
        self,
        signer: LocalAccount,
        study: StudyId,
        round_number: int,
        previous: bytes,
        site: str,
        closing: Closing = NO_CLOSING,
    ) -> Receipt | None:
        """Give a registration's deposit, and what was paid for hidden bytes, to who is due them.

        Args:
            signer: pays for gas; any account.
            study: the study.
            round_number: for which the contribution was registered.
            previous: commitment of the round before, on top of which it was.
            site: the site.
            closing: of the round, where it is closed: a deposit whose bytes were all shown is due
                once that is final.
        """
        where = (study, round_number, previous, site)
        call = self._call("closeContribution", study, round_number, closing.abi(), previous, site)

        def is_done() -> bool:
            state = self.standing(*where)
            return state.settled and (state.unanswered == 0 or state.payer == ZERO_ADDRESS)

        return self._send(signer, call, f"close the registration of {site}", is_done)

    def refuse_contribution(
        self,
        signer: LocalAccount,
        study: StudyId,
        round_number: int,
        previous: Closing,
        entry: bytes,
        coordinate: int,
        update: Leaf,
        base: Leaf,
    ) -> Receipt | None:
        """Void a registration whose update exceeds the bound, or leads out of a model's range."""
        site = "0x" + entry[:20].hex()
        call = self._call(
            "refuseContribution",
            study,
            round_number,
            previous.abi(),
            entry,
            coordinate,
            update.opening,
            base.opening,
        )
        return self._send(
            signer,
            call,
            f"refuse the contribution of {site}",
            lambda: self.standing(study, round_number, previous.commitment, site).refused,
        )

    # ---------------------------------------------------------------- together

    def send_together(
        self, signer: LocalAccount, parts: Iterable[CourtCall]
    ) -> Iterator[SentCalls]:
        """Send calls in as few transactions as their bytes and gas allow.

        Where the contract refuses a transaction, the calls that others have made meanwhile are left
        out. Where there are none, its halves are sent, down to single calls: so one that is refused
        keeps no other out.

        Yields:
            For each transaction its parts, with the receipt, or with why it was not mined; nothing
            for parts that were done before.
        """
        batch: list[CourtCall] = []
        for part in parts:
            grown = [*batch, part]
            if batch and (_bytes(grown) > CALLDATA_LIMIT or _gas(grown) > _BATCH_GAS):
                yield from self._send_batch(signer, batch)
                grown = [part]
            batch = grown
        yield from self._send_batch(signer, batch)

    def _send_batch(self, signer: LocalAccount, batch: Sequence[CourtCall]) -> Iterator[SentCalls]:
        left = [part for part in batch if not part.is_done()]
        if not left:
            return
        try:
            if len(left) == 1:
                receipt = self._send_part(signer, left[0])
            else:
                call = self._call("multicall", [part.call.data for part in left])
                label = f"{left[0].label} and {len(left) - 1} more"
                receipt = self._send(signer, call, label, lambda: all(p.is_done() for p in left))
        except (ContractReverted, TransactionRefused) as error:
            if any(part.is_done() for part in left):
                yield from self._send_batch(signer, left)
                return
            if len(left) == 1:
                yield SentCalls(left, None, error)
                return
            middle = len(left) // 2
            yield from self._send_batch(signer, left[:middle])
            yield from self._send_batch(signer, left[middle:])
        except TransactionTimedOut as error:
            yield SentCalls(left, None, error)
        else:
            yield SentCalls(left, receipt)

    def _send_part(self, signer: LocalAccount, part: CourtCall) -> Receipt | None:
        return self._send(signer, part.call, part.label, part.is_done)

    # ---------------------------------------------------------------- inside

    def _challenge(
        self,
        signer: LocalAccount,
        contested: Contested,
        function: str,
        *arguments: Any,
        done: Callable[[], bool] = lambda: False,
    ) -> Receipt | None:
        call = self._call(
            function, contested.study, contested.round, contested.closing.abi(), *arguments
        )
        return self._send(
            signer,
            call,
            f"{function} of round {contested.round}",
            lambda: done() or not self.stands(contested),
        )


def _arguments(previous: tuple[Any, ...], evidence: Evidence) -> tuple[Any, ...]:
    """What the entry point that takes this evidence is called with, behind the closing."""
    match evidence:
        case CoordinateEvidence():
            chunks = (evidence.openings, evidence.base.opening, evidence.model.opening)
            rows = evidence.named + evidence.rows
            return previous, evidence.entries, (evidence.coordinate, *chunks, rows)
        case NodeEvidence(what, row, page, place, openings):
            return previous, (what - What.DISTANCES, row, page, place, openings)
        case ScoreEvidence(index, openings) | RankEvidence(index, openings):
            return index, openings
        case EntryEvidence(leaf):
            return previous, leaf.data, leaf.index, list(leaf.path)
        case UpdateEvidence(entry, coordinate, update, base):
            proof = (coordinate, update.opening, base.opening)
            return previous, entry.data, entry.index, list(entry.path), proof
        case OrderEvidence(first, second):
            return first.data, second.data, first.index, list(first.path), list(second.path)
        case TotalsEvidence(entries):
            return (entries,)
        case OmissionEvidence(site, place, before, behind):
            neighbours = [leaf or Leaf(0, b"", ()) for leaf in (before, behind)]
            data, paths = zip(*((leaf.data, list(leaf.path)) for leaf in neighbours), strict=True)
            return site, place, *data, *paths
    raise TypeError(f"{evidence.challenge} is not sent as a challenge")
