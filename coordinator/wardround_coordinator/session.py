"""One study under one coordinator: its position, and how a round is settled and closed.

The coordinator keeps no state. Position and the base model are read from chain and store,
so another process with the key can go on where one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from eth_account.signers.local import LocalAccount

from wardround.audit.answering import Answerer
from wardround.audit.finding import find_vector
from wardround.audit.first_model import declared_first_model
from wardround.audit.notices import Notice
from wardround.audit.shown_leaves import keep_shown
from wardround.chain.court import Court
from wardround.chain.errors import ContractReverted
from wardround.chain.events import CohortLocked, Registered
from wardround.chain.ward_round import WardRound
from wardround.host.steps import Step, durable
from wardround.protocol.checks import Asked, CheckFailed, History, check_range
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.commitments import SCORES
from wardround.protocol.contribution import WEIGHT_LIMIT, Entry, contributions_root
from wardround.protocol.errors import ReplayFailed, StudyMismatch
from wardround.protocol.facts import StudyFacts
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.identifiers import Root, SiteAddress, hex_of
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, Dropped, Manifest, parse_manifest
from wardround.protocol.record import Closing, genesis_closing
from wardround.protocol.replay import fetch_specification
from wardround.protocol.rewards import shares_floor
from wardround.protocol.rules import RunningMean, aggregate
from wardround.protocol.settlement import RoundFrame, Settlement, Vector, settle, stored_scores
from wardround.protocol.study import StudySpec
from wardround.store import Store
from wardround_coordinator.cohort import find_cohort, keep_cohort
from wardround_coordinator.errors import PositionMoved, ReplyRefused, StoodDown
from wardround_coordinator.registrations import POLL_SECONDS, Registrations
from wardround_coordinator.round import (
    Accepted,
    Event,
    Phase,
    RoundState,
    SiteAccepted,
    SiteDropped,
    SiteExcused,
    SiteRegistered,
    TimeUp,
    tick,
)
from wardround_coordinator.verification import Reply, verify_reply

#: Revert reasons: the round moved on, or this coordinator is not the active one.
MOVED = frozenset(
    {
        "WardRound_NotCoordinator",
        "WardRound_RoundNotOpen",
        "WardRound_StudyOver",
        "WardRound_CommitmentDiffers",
    }
)

#: What is sent before the cut-off and mined after it leaves out what is registered meanwhile, so
#: no round is closed or locked in the last minutes, or the last quarter of a shorter time.
_LAST_SECONDS, _LAST_PART = 300.0, 0.25
#: While nothing but the cut-off is waited for.
_CUT_OFF_POLL_SECONDS = 30.0


@dataclass(frozen=True)
class StudyPosition:
    """What the next round starts from.

    Attributes:
        round: the open round; one more than ``rounds`` when the study is over.
        previous: the closing of the round before, whose model is ``base``.
        history: what earlier rounds leave for the checks of this one.
    """

    round: int
    previous: Closing
    base: Vector
    history: History


@dataclass(frozen=True)
class RoundFacts:
    """What is reported of a closed round.

    Attributes:
        shares: this round's rewards by site, in the token's smallest unit.
    """

    manifest: Manifest
    shares: Mapping[SiteAddress, int]
    gas: int


@dataclass(frozen=True)
class RoundOutcome:
    """A round that this coordinator has closed."""

    settlement: Settlement
    state: RoundState
    closing: Closing
    gas: int
    position: StudyPosition

    @property
    def facts(self) -> RoundFacts:
        """What is reported of it."""
        return RoundFacts(self.settlement.manifest, self.settlement.shares, self.gas)


class Session:
    """A coordinator at work on one study."""

    def __init__(
        self,
        contract: WardRound,
        signer: LocalAccount,
        store: Store,
        facts: StudyFacts,
        clock: Callable[[], float] | None = None,
        wait: Callable[[float], None] | None = None,
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        """Read the specification from the store, by its digest on chain.

        Args:
            clock: seconds since 1970, to know whether a deadline has passed; by default the
                chain's, of its confirmed blocks, so that no reorganisation brings what was late.
            wait: lets time pass, while a site may register or answer a demand; see
                `Chain.let_pass`, the default.
            say: reports what a round waits for.
        """
        self.contract = contract
        self.signer = signer
        self.store = store
        self.facts = facts
        self.spec: StudySpec = fetch_specification(facts, store.map)
        self._clock = clock or (lambda: float(contract.chain.confirmed_timestamp()))
        self._wait = wait or contract.chain.let_pass
        self._say = say
        self._court = Court(contract)
        self._registrations = Registrations(self._court, signer, facts.params, self._clock)
        self._answerer = Answerer(self._court, signer, facts.params, store)

    def admits(self, site: SiteAddress) -> bool:
        """Whether the contract has admitted a site, also after this coordinator has started."""
        if site not in self.facts.members:
            self._read_members()
        return site in self.facts.members

    def _read_members(self) -> None:
        members = self.contract.members(self.facts.study)
        self.facts = replace(self.facts, members=members)

    def position(self) -> StudyPosition:
        """Read the study's position from chain and store.

        Raises:
            ObjectMissing: the model or a manifest is not in the store.
            ObjectAltered: it is, with other bytes.
        """
        number, previous = 1, genesis_closing(self.facts.params.initial_model)
        history = History()
        manifest: Manifest | None = None
        for closed, previous in self.contract.closings(self.facts.study):
            number = closed + 1
            manifest = self._manifest(previous)
            history = history.after(manifest, self.spec, self.store.map)
        if manifest is None:
            base = self._first_model()
        else:
            params = self.facts.params
            data = self.store.map(manifest.model.cid, params.vector_size)
            base = Vector.of(params.read_vector(data))
        if base.root != previous.record.model:
            raise StudyMismatch("model", hex_of(previous.record.model), hex_of(base.root))
        return StudyPosition(number, previous, base, history)

    def _first_model(self) -> Vector:
        params = self.facts.params
        built = declared_first_model(params, self.spec)
        if built is not None:
            self.store.put(built.data)
            return built
        # To build it would run the study's own code, which is for its sites to approve.
        found = find_vector(self.store, params, params.initial_model)
        if found is None:
            raise StudyMismatch("first model", hex_of(params.initial_model), "not in the store")
        return Vector.of(found)

    def facts_of(self, number: int) -> RoundFacts:
        """Read what is reported of a closed round, from chain and store.

        Raises:
            ObjectMissing: its manifest is not in the store.
        """
        closed = self.contract.closed(self.facts.study, number)
        manifest, record = self._manifest(closed.closing), closed.closing.record
        entries = [row.entry() for row in manifest.contributions]
        scores = stored_scores(manifest, self.store.map)
        shares = shares_floor(self.spec.reward_per_round, entries, record.total_weight, scores)
        return RoundFacts(manifest, shares, closed.gas_used)

    def run_round(
        self,
        position: StudyPosition,
        asked: Mapping[int, SiteAddress],
        answers: Iterable[tuple[int, Reply | Dropped]],
        names: Mapping[SiteAddress, str] = MappingProxyType({}),
    ) -> RoundOutcome:
        """Collect a round's replies as they arrive, settle it and close it on chain.

        Args:
            position: what the round starts from.
            asked: the sites that were asked, by node; it may grow while answers come. Several
                nodes may claim one site: a bad answer counts against it only when no other node
                is left to give a good one.
            answers: what came from each node: a reply, or why there is none; ends when all
                have answered or time is up.
            names: of sites, for the error of a round that fails.
        Raises:
            RoundFailed: too few good contributions; nothing was closed.
        """
        self._read_members()
        self.answer_demands()
        collected, locked = _Collected(self, position), self._locked(position)
        state = (
            self._collect(position, collected, asked, answers)
            if locked is None
            else self._found(position, collected, locked)
        )
        if locked is None:
            state = self._with_registered(position, state, collected)
        if state.phase is Phase.FAILED:
            members = self.facts.members.items()
            present = [site for site, member in members if member.belongs(position.round)]
            raise state.failure(names, [site for site in present if site not in state.asked])
        if self.facts.params.locked_cohort:
            self._lock(position, state, locked)
        while True:
            settlement = self._settle(position, state, collected)
            if self.facts.params.locked_cohort:
                break
            # That takes time, in which the last minutes may begin and more be registered.
            before, state = state, self._with_registered(position, state, collected)
            if state == before:
                break
        return self._close(position, state, settlement)

    def is_locked(self, position: StudyPosition) -> bool:
        """Whether the round's cohort is locked: then no site need be asked for it."""
        return self._locked(position) is not None

    def _locked(self, position: StudyPosition) -> CohortLocked | None:
        if not self.facts.params.locked_cohort:
            return None
        # Confirmed or not: a closing is judged at the head.
        with self.contract.chain.at_head():
            return self.contract.locked_cohort(self.facts.study, position.round)

    def _collect(
        self,
        position: StudyPosition,
        collected: _Collected,
        asked: Mapping[int, SiteAddress],
        answers: Iterable[tuple[int, Reply | Dropped]],
    ) -> RoundState:
        """Take the sites' answers, until all have answered or time is up."""
        state = RoundState(position.round, frozenset(asked.values()), self.facts.params.min_sites)
        state = tick(state, TimeUp()) if not asked else state
        answered: set[int] = set()
        for node, answer in answers:
            site = asked[node]
            answered.add(node)
            event = collected.take(answer, site, state)
            last = all(one in answered for one, other in asked.items() if other == site)
            if last or not isinstance(event, SiteDropped):
                state = tick(state, event)
        return tick(state, TimeUp()) if state.phase is Phase.COLLECTING else state

    def _found(
        self, position: StudyPosition, collected: _Collected, locked: CohortLocked
    ) -> RoundState:
        """Take a locked cohort out of the store: this coordinator, or one before it, has died.

        Raises:
            PositionMoved: the lock was proven wrong, so the round can be locked again.
        """
        said = ""
        while True:
            try:
                accepted = find_cohort(self.store, self.facts, locked, position.base)
                for one in accepted:
                    collected.check_locked(one)
                excused = self._left_out(position, accepted)
                break
            except (StudyMismatch, ReplayFailed, ReplyRefused) as error:
                if str(error) != said:
                    said = str(error)
                    self._say(
                        f"round {position.round} waits, since only what {locked.coordinator} has "
                        f"locked can be closed ({said}): the demand or the challenge of an auditor "
                        "gets it shown, or overturns the lock."
                    )
            self._wait(POLL_SECONDS)
            self.check_standing(position)
            # The lock was read at the newest block, members only at the confirmed one.
            self._read_members()
            if self._locked(position) != locked:
                raise PositionMoved(position.round, position.round)
            self.answer_demands()
            keep_shown(self._court, self.facts.params, position.round, locked.closing, self.store)
        sites = frozenset(
            SiteAddress(site)
            for site, member in self.facts.members.items()
            if member.belongs(position.round)
        )
        state = RoundState(position.round, sites, self.facts.params.min_sites)
        # All of it may be in another's replica alone, and who closes the round answers for it.
        keep_cohort(self.store, [one.entry for one in accepted])
        self.store.put(position.base.data)
        for one in accepted:
            state = tick(state, collected.take_locked(one))
        for site in state.waiting:
            row = Dropped(site=site.lower(), reason="not_locked", evidence="not in the cohort")
            state = tick(state, SiteDropped(row))
        for left_out in excused:
            state = tick(state, left_out)
        return state

    def _lock(
        self, position: StudyPosition, state: RoundState, locked: CohortLocked | None
    ) -> None:
        """Lock the cohort, or see that it is what is locked."""
        if locked is None:
            keep_cohort(self.store, state.entries)
            try:
                self.contract.lock_cohort(
                    self.signer, self.facts, position.round, position.previous, state.entries
                )
            except ContractReverted as error:
                if error.name in MOVED:
                    self.check_standing(position)
                raise
            locked = self._locked(position)
        own = contributions_root(state.entries)
        if locked is None or locked.contributions != own:
            found = "none" if locked is None else hex_of(locked.contributions)
            raise StudyMismatch(f"locked cohort of round {position.round}", found, hex_of(own))

    def _with_registered(
        self, position: StudyPosition, state: RoundState, collected: _Collected
    ) -> RoundState:
        """Take in what sites register on chain; leaving it out would be a provable fraud.

        Waits until all that can register have, and what was demanded of them was shown or is void.
        """
        settled: set[SiteAddress] = set()
        with self.contract.chain.at_head():
            while True:
                # The time first: what is registered by then is in the events that are read next.
                left = self._registration_left(self._clock())
                waiting = False
                for registered in self.contract.registered(self.facts.study, position.round):
                    if registered.site in state.accepted or registered.site in settled:
                        continue
                    # Each may cost several transactions, and a demand does not wait.
                    self.answer_demands()
                    found = self._registrations.obtain(registered, position.previous, position.base)
                    if found is None:
                        waiting = True
                    elif isinstance(found, Dropped):
                        settled.add(registered.site)
                        state = tick(state, SiteExcused(registered.site, found))
                    else:
                        state = tick(state, collected.take_registered(registered, found))
                if not waiting and (
                    left <= 0
                    or state.phase is Phase.FAILED
                    or (self._is_complete(state) and self._is_early())
                ):
                    return state
                self._wait(POLL_SECONDS if waiting else min(left, _CUT_OFF_POLL_SECONDS))
                self.check_standing(position)
                self.answer_demands()

    def _left_out(self, position: StudyPosition, accepted: list[Accepted]) -> list[SiteExcused]:
        """Registered sites that a locked cohort leaves out as it may.

        Raises:
            StudyMismatch: it leaves out another; who closes the round with it could be proven
                wrong.
        """
        sites, excused = {one.entry.site for one in accepted}, []
        with self.contract.chain.at_head():
            for registered in self.contract.registered(self.facts.study, position.round):
                if registered.site in sites:
                    continue
                found = self._registrations.excused(registered)
                if found is None:
                    what = f"locked cohort of round {position.round}"
                    raise StudyMismatch(what, f"a registration of {registered.site}", "without it")
                excused.append(SiteExcused(registered.site, found))
        return excused

    def _registration_left(self, now: float) -> float:
        """Seconds until the open round takes no more registrations."""
        opened = self.contract.open_round(self.facts.study).opened_at
        return opened + self.facts.params.registration_seconds - now

    def _is_early(self) -> bool:
        """Whether what is sent now can be expected to be mined before the cut-off."""
        last = min(_LAST_SECONDS, _LAST_PART * self.facts.params.registration_seconds)
        return self._registration_left(self.contract.chain.timestamp()) > last

    def _is_complete(self, state: RoundState) -> bool:
        """Whether every member is in the round, and the contract can tell: it may be closed."""
        self._read_members()
        members = {
            site for site, member in self.facts.members.items() if member.belongs(state.round)
        }
        stay = all(self.facts.members[site].until != state.round + 1 for site in members)
        reached = self.contract.reached_before(self.facts.study)
        return stay and state.round > reached and members == state.accepted.keys()

    def _settle(
        self, position: StudyPosition, state: RoundState, collected: _Collected
    ) -> Settlement:
        frame = RoundFrame(
            domain=self.facts.domain,
            study=self.facts.study,
            spec=self.spec,
            round=position.round,
            coordinator=self.signer.address,
            base=position.base,
        )
        settlement = settle(
            frame,
            state.entries,
            state.objects,
            collected.aggregate(state),
            dropped=list(state.dropped.values()),
            updates=collected.updates(state) if self.spec.commits else (),
        )
        # Objects first: once the record is on chain, every auditor must find what it commits to.
        with durable(Step.MODEL_STORED):
            self.store.put(settlement.model.data)
            for name in settlement.commitments.rows:
                # Sites are paid by scores, and who pays them may have no key to updates.
                keep = self.store.put_public if name == SCORES else self.store.put
                keep(settlement.commitments.data(name))
        with durable(Step.MANIFEST_STORED):
            self.store.put(settlement.manifest_data)
        return settlement

    def _close(
        self, position: StudyPosition, state: RoundState, settlement: Settlement
    ) -> RoundOutcome:
        try:
            with durable(Step.ROUND_CLOSED):
                closed = self.contract.close_round(
                    self.signer,
                    self.facts,
                    position.round,
                    settlement.record,
                    position.previous,
                    state.entries,
                )
        except ContractReverted as error:
            if error.name in MOVED:
                self.check_standing(position)
            raise
        if closed.closing.record != settlement.record:
            raise StudyMismatch(
                f"record of round {position.round}",
                hex_of(closed.closing.record.manifest),
                hex_of(settlement.record.manifest),
            )
        following = StudyPosition(
            position.round + 1,
            closed.closing,
            settlement.model,
            position.history.after(settlement.manifest, self.spec, self.store.map),
        )
        return RoundOutcome(settlement, state, closed.closing, closed.gas_used, following)

    def answer_demands(self) -> list[Notice]:
        """Show what is demanded of any closed round and the store has; call it while waiting.

        Raises:
            ChainError: the chain cannot be asked.
        """
        return list(self._answerer.look(self._clock))

    def check_standing(self, position: StudyPosition) -> None:
        """Check, in one request, that a round is still open and this coordinator is active.

        At the newest block, confirmed or not: a closing is judged there.

        Raises:
            StoodDown: another coordinator is active.
            PositionMoved: the chain is elsewhere: a round was closed, overturned, or undone by a
                reorganisation.
        """
        try:
            with self.contract.chain.at_head():
                found = self.contract.open_round(self.facts.study)
        except ContractReverted as error:
            if error.name != "WardRound_StudyOver":
                raise
            raise PositionMoved(position.round, self.facts.params.rounds + 1) from error
        if found.coordinator != self.signer.address:
            raise StoodDown(found.coordinator, found.round)
        if (found.round, found.previous_commitment) != (
            position.round,
            position.previous.commitment,
        ):
            raise PositionMoved(position.round, found.round)

    def _manifest(self, closing: Closing) -> Manifest:
        cid = cid_from_sha256(closing.record.manifest)
        return parse_manifest(self.store.get(cid, MANIFEST_MAX_BYTES))


class _Collected:
    """What a round has gathered: a running sum where the rule allows it, else stored updates."""

    def __init__(self, session: Session, position: StudyPosition) -> None:
        self._session = session
        self._rule = session.spec.rule
        # Other rules read the stored updates again, block by block.
        self._running = (
            RunningMean(session.facts.params.parameter_count) if self._rule.streams else None
        )
        self._roots: set[Root] = set()
        self._weight = 0
        self._base = position.base
        self._asked = Asked(session.facts, session.spec, position.round, position.history)

    def take(self, answer: Reply | Dropped, asked: SiteAddress, state: RoundState) -> Event:
        """Verify one answer; store and sum it when it is good."""
        if isinstance(answer, Dropped):
            return SiteDropped(answer)
        try:
            # The sponsor may admit a site while a round is open.
            current = replace(self._asked, facts=self._session.facts)
            delivery, update = verify_reply(answer, asked, current, self._base, self._roots)
            if self._weight + delivery.entry.weight >= WEIGHT_LIMIT:
                raise ReplyRefused("weight", "the round's weights would add up to 2**31")
        except ReplyRefused as error:
            return SiteDropped(
                Dropped(site=asked.lower(), reason=error.reason, evidence=error.evidence)
            )
        entry, store = delivery.entry, self._session.store
        with durable(Step.UPDATE_STORED):
            update_cid = store.put(update.data)
        with durable(Step.REPORT_STORED):
            report_cid = store.put(delivery.report)
        accepted = Accepted(entry, update_cid, report_cid)
        if asked in state.waiting:
            self._weight += entry.weight
            self._roots.add(entry.update)
            if self._running is not None:
                self._running.add(update, entry.weight)
        return SiteAccepted(accepted)

    def check_locked(self, accepted: Accepted) -> None:
        """Check an update of a cohort that is locked.

        Raises:
            ReplyRefused: no round may hold it, so this coordinator must not close with it.
        """
        site = accepted.entry.site
        try:
            check_range(self._session.spec, self._stored(accepted), self._base.values)
        except CheckFailed as error:
            raise ReplyRefused(error.check, f"the locked update of {site}: {error.seen}") from error

    def take_locked(self, accepted: Accepted) -> Event:
        """Store and sum an update of a cohort that is locked, which was checked."""
        update = self._stored(accepted)
        with durable(Step.UPDATE_STORED):
            self._session.store.put(update.data)
        if self._running is not None:
            self._running.add(update, accepted.entry.weight)
        return SiteAccepted(accepted)

    def _stored(self, accepted: Accepted) -> IntVector:
        params, store = self._session.facts.params, self._session.store
        return params.read_vector(store.map(accepted.update_cid, params.vector_size))

    def take_registered(self, registered: Registered, update: IntVector) -> Event:
        """Store and sum an update that the contract has vouched for."""
        entry, store = Entry.unpack(registered.entry), self._session.store
        # Its report may be in no store; the CID names it all the same.
        report_cid = cid_from_sha256(entry.report)
        if self._running is not None:
            self._running.add(update, entry.weight)
        return SiteRegistered(Accepted(entry, store.put(update.data), report_cid))

    def aggregate(self, state: RoundState) -> IntVector:
        """The rule's result, int32, of a sum int64, shape (P,)."""
        if self._running is not None:
            return self._running.finish()
        weights = [entry.weight for entry in state.entries]
        return aggregate(self._rule, self.updates(state), weights)

    def updates(self, state: RoundState) -> list[IntVector]:
        """Map the updates again from the store, in the order of the entries."""
        params, store = self._session.facts.params, self._session.store
        return [params.read_vector(store.map(cid, params.vector_size)) for cid, _ in state.objects]
