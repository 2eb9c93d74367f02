"""Follow a study on a live chain: replay what is closed, attest what holds, challenge the rest.

An auditor knows the chain and the store, and trusts neither the coordinator nor the manifest. It
keeps nothing that it could not find out again, so it may be stopped and started at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar

from eth_account.signers.local import LocalAccount

from wardround.audit.answering import Answerer
from wardround.audit.challenge import send_challenge, send_demands
from wardround.audit.collection import close_lapsed
from wardround.audit.demanding import next_demands
from wardround.audit.examination import (
    Breach,
    RoundCase,
    Verdict,
    examine,
    examine_lock,
    recorded_model,
)
from wardround.audit.finding import VectorIndex
from wardround.audit.first_model import declared_first_model
from wardround.audit.notices import Notice, Powers, unproven_words
from wardround.audit.quorum import QuorumSender
from wardround.audit.shown_leaves import ShownLeaves, demands_about
from wardround.audit.shown_vector import put_together
from wardround.chain.blocks import Receipt
from wardround.chain.court import Court
from wardround.chain.court_events import Demanded, Proven
from wardround.chain.court_reader import Contested, DemandStatus
from wardround.chain.errors import ChainError, ContractReverted, TransactionRefused
from wardround.chain.events import (
    Overturned,
    RoundClosed,
    SiteAdmitted,
    SiteRemoved,
)
from wardround.chain.ward_round import WardRound
from wardround.host.screen import utc
from wardround.learning.errors import LearningError
from wardround.protocol.attestation import Attestation
from wardround.protocol.checks import History
from wardround.protocol.errors import (
    Retryable,
    SignatureInvalid,
    StudyMismatch,
)
from wardround.protocol.evidence import Demand, Hidden, What
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.protocol.record import Closing, genesis_closing
from wardround.protocol.replay import ClosedRound, fetch_specification
from wardround.protocol.settlement import Vector
from wardround.store import Store
from wardround.store.errors import StoreError

T = TypeVar("T")
#: One transaction that is refused ends no watch: others have to look at what follows.
_REFUSED = (ContractReverted, TransactionRefused)
#: Between two looks at the chain.
POLL_SECONDS = 2.0


class Auditor:
    """An audit of one study that goes on as the study does."""

    def __init__(
        self,
        ward: WardRound,
        study: StudyId,
        store: Store,
        powers: Powers | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read the study from the chain and its specification from the store.

        Args:
            ward: the contract.
            study: the study.
            store: where its objects are.
            powers: none by default: it only looks.
            now: seconds since 1970; a chain without traffic has no time of its own.

        Raises:
            StudyMismatch: the chain has no such study.
            StoreError: the specification is missing or altered.
            ReplayFailed: it is not the one on chain.
        """
        self.ward, self.study, self.store = ward, study, store
        self.court = Court(ward)
        self.powers = powers or Powers()
        self.facts = ward.facts(study)
        self.spec = fetch_specification(self.facts, store.map)
        self._now = now
        self._next_block = 0
        self._closings: dict[int, RoundClosed] = {}
        self._verdicts: dict[int, Verdict] = {}
        self._lock_breach: Breach | None = None
        self._demanded: dict[bytes, Demanded] = {}
        #: What was shown, by demand.
        self._shown: dict[bytes, bytes] = {}
        self._said: set[tuple[bytes, str]] = set()
        self._quorums = QuorumSender(ward)
        self._answerer: Answerer | None = None
        self._initial: Vector | None = None
        self._has_built = False
        self._vectors = VectorIndex(store, self.facts.params)

    def step(self) -> list[Notice]:
        """Look at the chain once, and do what there is to do.

        Raises:
            ChainError: the chain cannot be asked; call again.
        """
        return list(self._step())

    def watch(
        self, tell: Callable[[Notice], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Go on until the study is over and final, also while the chain or the store is away.

        Raises:
            ChainError: the chain answers, but not to this.
        """

        def look() -> bool:
            for notice in self._step():
                tell(notice)
            return self.is_over()

        while not _answered(look, tell, sleep):
            sleep(POLL_SECONDS)

    @property
    def breaches(self) -> list[Breach]:
        """What is wrong with the rounds that stand, in order, and with the open one's lock."""
        found = [self._verdicts[number].breach for number in sorted(self._verdicts)]
        return [breach for breach in [*found, self._lock_breach] if breach is not None]

    def lock_breach(self) -> Breach | None:
        """What is wrong with the lock of the open round, where there is one; judge no closing."""
        for _ in (*self._news(), *self._judge_lock()):
            pass
        return self._lock_breach

    def is_over(self) -> bool:
        """Whether the last round is closed and can no longer be overturned."""
        state = self.ward.study(self.study)
        last = self._closings.get(state.rounds)
        if state.rounds == 0 or state.head <= state.rounds or last is None:
            return state.rounds == 0
        if not self.court.is_valid(self.study, state.rounds, last.closing):
            return False  # overturned, and closed again, since it was read
        if self.ward.is_final(self.study, state.rounds, last.closing):
            return True
        held = state.hold_until if 0 < state.hold_round <= state.rounds else 0
        return self._time() >= max(last.closing.closed_at + state.challenge_seconds, held)

    # ---------------------------------------------------------------- looking

    def _step(self) -> Iterator[Notice]:
        yield from self._news()
        self._vectors.refresh()
        for number in sorted(self._closings):
            done = self._verdicts.get(number)
            if done is not None and not done.is_open:
                continue
            try:
                yield from self._judge(number)
            except StudyMismatch:
                # Overturned since it was read, or the chain has reorganised: read all again.
                self._next_block = 0
                break
        with suppress(StudyMismatch):
            yield from self._judge_lock()
        yield from self._answer()
        yield from self._attest()

    def _news(self) -> Iterator[Notice]:
        head = self.ward.chain.block().number
        events = self.ward.events(self.study, self._next_block, head)
        in_court = self.court.events(self.study, self._next_block, head)
        answers = self.court.answers(self._next_block, head)
        if self._next_block == 0:
            self._closings.clear()
            self._demanded.clear()
            self._shown.clear()
        self._next_block = head + 1
        demands = [event for event in in_court if isinstance(event, Demanded)]
        self._demanded |= {event.demand: event for event in demands}
        for shown in answers:
            if shown.demand in self._demanded:
                self._shown[shown.demand] = shown.opening
        if any(isinstance(event, (SiteAdmitted, SiteRemoved)) for event in events):
            self.facts = self.ward.facts(self.study)
        for event in events:
            if isinstance(event, RoundClosed):
                self._closings[event.round] = event
                known = self._verdicts.get(event.round)
                if known is not None and known.case.closed.closing != event.closing:
                    self._forget(event.round)
            elif isinstance(event, Overturned):
                did = "closed" if event.round in self._closings else "locked"
                self._forget(event.round)
                for number in [one for one in self._closings if one >= event.round]:
                    del self._closings[number]
                words = f"overturned ({event.reason}): {event.coordinator} {did} it wrongly"
                if self._once(event.log.transaction_hash.encode(), words):
                    yield Notice("overturned", event.round, words)

    def _forget(self, first: int) -> None:
        for number in [one for one in self._verdicts if one >= first]:
            del self._verdicts[number]

    def _judge(self, number: int) -> Iterator[Notice]:
        base, case = self._base(number), self._case(number)
        verdict = examine(self.facts, self.spec, base, case, self.store, self._vectors)
        self._verdicts[number] = verdict
        commitment = case.closed.closing.commitment
        unproven = unproven_words(self.facts.params.rule, case.closed.closing.record.count)
        if unproven is not None and self._once(commitment, unproven):
            yield Notice("unproven", number, unproven)
        if verdict.breach is None:
            if verdict.settlement is not None and self._once(commitment, "holds"):
                settled = verdict.settlement
                words = (
                    f"{settled.record.count} signatures and updates verified, "
                    f"{settled.manifest.rule.name} recomputed, model and manifest equal"
                )
                yield Notice("holds", number, words)
            return
        yield from self._found(case, verdict.breach)

    def _judge_lock(self) -> Iterator[Notice]:
        """Look whether the open round can be closed with the cohort that is locked for it.

        Until it is closed, or proven wrong, no other cohort can.
        """
        number, self._lock_breach = len(self._closings) + 1, None
        if not self.facts.params.locked_cohort:
            return
        locked = self.ward.locked_cohort(self.study, number)
        if locked is None:
            return
        entries = self.ward.locked_entries(self.study, number)
        case = self._case_of(number, locked.closing, entries, int(self._time()))
        self._lock_breach = examine_lock(
            self.facts, self.spec, self._base(number), case, self.store, self._vectors
        )
        if self._lock_breach is not None:
            yield from self._found(case, self._lock_breach)

    def _found(self, case: RoundCase, breach: Breach) -> Iterator[Notice]:
        number, commitment = case.closed.round, case.closed.closing.commitment
        if self._once(commitment, breach.what):
            proof = None if breach.evidence is None else breach.evidence.challenge
            how = f"proven by {proof}" if proof else "seen by auditors; no challenge proves it"
            yield Notice("breach", number, f"{breach.what} ({how})", proof)
        yield from self._challenge(case, breach)

    def _base(self, number: int) -> Vector | None:
        """The model that a round starts from; None where it is not to be had."""
        if number == 1:
            if self._initial is None:
                self._initial = self._first_model()
            return self._initial
        before = self._verdicts.get(number - 1)
        if before is None:
            # An audit has judged it elsewhere, and asks about the lock alone.
            return recorded_model(self.facts, self._case(number - 1), self.store)
        if before.settlement is not None:
            return before.settlement.model
        return recorded_model(self.facts, before.case, self.store)

    def _first_model(self) -> Vector | None:
        """``M_0`` out of the store, built here, or as the chain has it after demands."""
        params = self.facts.params
        found = self._vectors.find(params.initial_model)
        if found is not None:
            return Vector.of(found)
        # Where the store does not answer at all, that is to be waited for.
        next(iter(self.store.cids()), None)
        if not self._has_built:
            self._has_built = True
            with suppress(LearningError):
                built = declared_first_model(params, self.spec)
                if built is not None and built.root == params.initial_model:
                    return built
        shown = self._case(1).shown.trees if 1 in self._closings else {}
        found = put_together(params, shown.get((What.BASE, 0), {}))
        return None if found is None else Vector.of(found)

    def _case(self, number: int) -> RoundCase:
        closed = self.ward.closed_round(self.study, self._closings[number])
        return self._case_of(number, closed.closing, closed.entries)

    def _case_of(
        self, number: int, closing: Closing, entries: bytes | None, locked_now: int | None = None
    ) -> RoundCase:
        registered = tuple(
            self.court.registration(event) for event in self.ward.registered(self.study, number)
        )
        made = demands_about(self.facts.params, number, closing, self._demanded.values())
        shown = ShownLeaves.of(self.facts.params, made, self._shown)
        previous = genesis_closing(self.facts.params.initial_model)
        if number > 1:
            previous = self._closings[number - 1].closing
        own = {one.site: one.entry for one in registered}
        seen = ClosedRound(number, closing, entries, lambda: own, partial(self._locked_by, number))
        before = self._verdicts.get(number - 1)
        history = History() if before is None else before.history
        return RoundCase(seen, previous, registered, shown, locked_now, history)

    def _locked_by(self, number: int) -> str | None:
        block = self._closings[number].log.block_number
        return self.ward.locked_by(self.study, number, block)

    # ---------------------------------------------------------------- acting

    def _challenge(self, case: RoundCase, breach: Breach) -> Iterator[Notice]:
        key, evidence = self.powers.key, breach.evidence
        if key is None or evidence is None or not self.powers.challenge:
            return
        contested = Contested(self.study, case.closed.round, case.closed.closing, case.previous)
        try:
            if breach.withheld:
                yield from self._press(key, contested, breach.withheld)
                return
            receipts = send_challenge(
                self.court,
                key,
                contested,
                evidence,
                rule=self.spec.rule,
                limit_bytes=self.powers.limit_bytes,
            )
        except _REFUSED as error:
            if self._once(contested.closing.commitment, str(error)):
                yield Notice("refused", breach.round, str(error), evidence.challenge)
            return
        yield from self._proven(contested, receipts, evidence.challenge)

    def _press(
        self, key: LocalAccount, contested: Contested, withheld: tuple[Hidden, ...]
    ) -> Iterator[Notice]:
        """Demand what is not shown; after a deadline, hold the round to it."""
        number, name = contested.round, Demand.challenge
        params, closing, now = self.facts.params, contested.closing, self._time()
        made = list(demands_about(params, number, closing, self._demanded.values()))
        for event in made:
            if event.demand in self._shown or now <= event.deadline:
                continue
            status = self.court.demand_of(event.demand).status
            if status is DemandStatus.NONE:
                self._next_block = 0  # the chain has reorganised: read all again
                return
            if status is not DemandStatus.OPEN:
                continue
            receipt = self.court.close_demand(key, event.demand, closing)
            yield from self._proven(contested, [] if receipt is None else [receipt], name)
            return
        closed_at = None if number not in self._closings else closing.closed_at
        demands = next_demands(params, closed_at, withheld, made, now)
        if not demands:
            return
        receipts: list[Receipt] = []
        refused: ContractReverted | TransactionRefused | None = None
        try:
            receipts.extend(send_demands(self.court, key, contested, demands))
        except _REFUSED as error:
            refused = error
        events = [one for receipt in receipts for one in self.court.events_of(receipt)]
        deadlines = [one.deadline for one in events if isinstance(one, Demanded)]
        if deadlines:
            words = (
                f"demanded what is not shown ({len(deadlines)} of it); "
                f"to be answered until {utc(max(deadlines))}"
            )
            yield Notice("demanded", number, words, name, _gas(receipts))
        if refused is not None:
            raise refused

    def _proven(
        self, contested: Contested, receipts: list[Receipt], challenge: str
    ) -> Iterator[Notice]:
        events = [event for one in receipts for event in self.court.events_of(one)]
        if any(isinstance(event, Proven) for event in events):
            words = f"proven in {len(receipts)} transaction{'s' * (len(receipts) > 1)}"
            yield Notice("challenged", contested.round, words, challenge, _gas(receipts))
            key = self.powers.key
            assert key is not None
            try:
                # Its other demands about the round come to nothing now.
                for _ in close_lapsed(self.court, key, self.study, key.address):
                    pass
                self.ward.collect(key, self.study, key.address)
            except _REFUSED as error:  # by the study's token, which its sponsor chose
                yield from self._say(contested.closing.commitment, contested.round, error)

    def _answer(self) -> Iterator[Notice]:
        """Show on chain what others demand and the store has, for half of their deposits."""
        key = self.powers.key
        if key is None or not self.powers.answer:
            return
        if self._answerer is None:
            self._answerer = Answerer(self.court, key, self.facts.params, self.store)
        yield from self._answerer.look(self._time)

    def _attest(self) -> Iterator[Notice]:
        """Sign for the last round up to which all hold, and send a quorum of signatures."""
        key, state = self.powers.key, self.ward.study(self.study)
        elsewhere, last = self.powers.elsewhere, 0
        through = (elsewhere and elsewhere.round) or state.rounds
        while (
            last < through
            and (verdict := self._verdicts.get(last + 1))
            and verdict.settlement is not None
        ):
            # Until then any account may object; a later round was closed later.
            closed_at = self._closings[last + 1].closing.closed_at
            if self._time() < closed_at + state.objection_seconds:
                break
            last += 1
        if key is None or state.auditor_quorum == 0 or last <= state.final_through:
            return
        auditor = key.address if elsewhere is None else elsewhere.auditor
        if not self.ward.is_auditor(self.study, auditor):
            return
        closing = self._closings[last].closing
        if self.ward.is_final(self.study, last, closing):
            return  # by time
        statement = Attestation(self.study, last, closing.commitment)
        digest = statement.signing_digest(self.ward.domain)
        if elsewhere is None:
            own = statement.sign(self.ward.domain, bytes(key.key))
        elif elsewhere.signature is None:
            if self._once(digest, "unsigned"):
                words = f"it holds: to attest it, {auditor} signs {hex_of(digest)}"
                yield Notice("unsigned", last, words)
            return
        else:
            own = elsewhere.signature
            if not self.ward.is_signed(auditor, digest, own):
                raise SignatureInvalid(auditor, f"it signs something else than {hex_of(digest)}")
        signatures = {str(auditor): own}
        if state.auditor_quorum > 1:
            if self.powers.signatures is None:
                return
            self.powers.signatures.leave(statement, auditor, own)

            def is_valid(account: str, signature: bytes) -> bool:
                listed = self.ward.is_auditor(self.study, account)
                return listed and self.ward.is_signed(account, digest, signature)

            signatures = dict(self.powers.signatures.found(statement, is_valid))
        if len(signatures) < state.auditor_quorum:
            return
        try:
            sent = self._quorums.send(key, statement, closing, signatures, state.auditor_quorum)
        except _REFUSED as error:
            # The chain's clock is behind ours, so at a later step; or it is final since we asked.
            if getattr(error, "name", "") not in ("WardRound_TooEarly", "WardRound_AlreadyFinal"):
                yield from self._say(digest, last, error)
            return
        receipt, counted = sent or (None, ())
        if receipt is not None:
            words = f"attested by {len(counted)}; final from now on"
            if left_out := sorted(signatures.keys() - set(counted)):
                words += f"; refused with the signature of {', '.join(left_out)}"
            yield Notice("attested", last, words, "attest", receipt.gas_used)

    # ---------------------------------------------------------------- inside

    def _time(self) -> float:
        return max(self._now(), self.ward.chain.timestamp())

    def _say(
        self, about: bytes, number: int, error: ContractReverted | TransactionRefused
    ) -> Iterator[Notice]:
        if self._once(about, getattr(error, "name", error.code)):
            yield Notice("refused", number, str(error))

    def _once(self, commitment: bytes, words: str) -> bool:
        new = (commitment, words) not in self._said
        self._said.add((commitment, words))
        return new


def start_watching(
    make: Callable[[], Auditor],
    tell: Callable[[Notice], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Auditor:
    """Make an auditor, and wait while the chain or the store is away.

    Raises:
        ChainError, StudyMismatch, ReplayFailed: see `Auditor`.
    """
    return _answered(make, tell, sleep)


def _answered(
    ask: Callable[[], T], tell: Callable[[Notice], None], sleep: Callable[[float], None]
) -> T:
    """Ask until chain and store answer; tell once that they do not."""
    is_waiting = False
    while True:
        try:
            return ask()
        except (ChainError, StoreError) as error:
            if not isinstance(error, (Retryable, StoreError)):
                raise
            if not is_waiting:
                tell(Notice("waiting", 0, str(error)))
            is_waiting = True
        sleep(POLL_SECONDS)


def _gas(receipts: list[Receipt]) -> int:
    return sum(receipt.gas_used for receipt in receipts)
