"""Replay a whole study from chain and store alone, round by round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, Protocol

from wardround.audit.replayers import replayers
from wardround.chain.court import Court
from wardround.chain.events import Registered
from wardround.chain.study_state import ClosedOnChain
from wardround.chain.ward_round import WardRound
from wardround.protocol.checks import History
from wardround.protocol.cid import Cid, cid_from_sha256
from wardround.protocol.errors import ReplayFailed, WardroundError
from wardround.protocol.facts import StudyFacts
from wardround.protocol.identifiers import SiteAddress, StudyId
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, Manifest, parse_manifest
from wardround.protocol.record import Record
from wardround.protocol.replay import (
    ClosedRound,
    Exemption,
    Replayed,
    fetch_specification,
    fetch_vector,
    replay_round,
)
from wardround.protocol.rewards import shares_floor
from wardround.protocol.settlement import Vector, stored_scores
from wardround.protocol.study import StudySpec
from wardround.store import Store


@dataclass(frozen=True)
class AuditedRound:
    """A round that was recomputed and equals the chain's.

    Attributes:
        shares: what each site earned by it, in the token's smallest unit.
    """

    closed: ClosedOnChain
    manifest: Manifest
    shares: Mapping[SiteAddress, int]
    exemptions: tuple[Exemption, ...] = ()

    @property
    def record(self) -> Record:
        """As the chain has it."""
        return self.closed.closing.record


class StudyRecords(Protocol):
    """A source of a chain's facts about studies: a contract, or an archive of its events."""

    def facts(self, study: StudyId) -> StudyFacts:
        """The chain's facts about a study, independent of any round."""

    def closed_rounds(self, study: StudyId) -> list[ClosedOnChain]:
        """The closed rounds, in order."""

    def rounds_of(self, study: StudyId) -> int:
        """How many rounds a study has; fewer than its parameters where it was ended."""

    def registered(self, study: StudyId, round_number: int) -> Sequence[Registered]:
        """Contributions that were registered for a round, one a site."""

    def locked_by(self, study: StudyId, round_number: int, by_block: int) -> str | None:
        """Who locked a round's cohort last, up to a block; None where it was not locked."""


class StudyAudit:
    """An audit of one study: read its facts, then iterate over its rounds."""

    def __init__(
        self,
        contract: StudyRecords,
        study: StudyId,
        store: Store,
        first_round: int = 1,
        last_round: int | None = None,
    ) -> None:
        """Read the study from the chain and its specification from the store.

        Args:
            contract: the source of the chain's facts.
            study: which.
            store: where its objects are.
            first_round: recompute from here; what came before is taken as it was recorded.
            last_round: recompute up to here; by default to the last that is closed.

        Raises:
            StudyMismatch: the chain has no such study.
            StoreError: the specification is missing or altered.
            ReplayFailed: it is not the one on chain.
        """
        self.store = store
        self._contract = contract
        self.facts: StudyFacts = contract.facts(study)
        closed = contract.closed_rounds(study)
        self.rounds_closed = len(closed)
        #: Rounds that are not closed yet.
        self.left = contract.rounds_of(study) - len(closed)
        end = len(closed) + 1 if last_round is None else last_round
        self.closed: list[ClosedOnChain] = [
            one for one in closed if first_round <= one.round <= end
        ]
        #: Those that come before, and are not recomputed.
        self.earlier: list[ClosedOnChain] = [one for one in closed if one.round < first_round]
        #: Objects that were read whole for rounds that hold, and so have their bytes.
        self._verified: set[str] = set()
        self.spec: StudySpec = fetch_specification(self.facts, store.map)

    def rounds(self, jobs: int = 1) -> Iterator[AuditedRound]:
        """Recompute every closed round in order.

        Args:
            jobs: how many processes share the rounds; more than one only where `hindrance` has
                nothing to say. What comes out is the same. Each holds a few models in memory.
        Raises:
            ReplayFailed: a round does not follow from its inputs; names both.
            StoreError: an object is missing or altered; names it.
            ProtocolError: an object is malformed.
        """
        if not self.closed:
            return
        base, history = self._start(), self.recorded_before()
        with ExitStack() as stack:
            ahead = None
            if jobs > 1 and len(self.closed) > 1:
                judge = partial(self._judged, base, history)
                count = min(jobs, len(self.closed))
                ahead = stack.enter_context(replayers(count, len(self.closed), judge))
            model: Vector | None = base
            for place, closed in enumerate(self.closed):
                if ahead is not None and ahead.holds(place):
                    audited, model = self.recorded(closed), None
                    history = history.after(audited.manifest, self.spec, self.store.map)
                else:
                    base = model or self._model_of(self.closed[place - 1])
                    replayed = self._replay(closed, base, history)
                    model, history = replayed.settlement.model, replayed.history
                    shares, exemptions = replayed.settlement.shares, replayed.exemptions
                    manifest = replayed.settlement.manifest
                    audited = AuditedRound(closed, manifest, shares, exemptions)
                self.check_registered(closed, audited.manifest)
                if not audited.exemptions:
                    self._verified.update(_objects(audited.manifest, closed))
                yield audited

    def recorded(self, closed: ClosedOnChain) -> AuditedRound:
        """Give a round as it is recorded, without recomputing it.

        Raises:
            WardroundError: its manifest or scores are missing, altered or malformed.
        """
        manifest, record = self._manifest(closed), closed.closing.record
        entries = [row.entry() for row in manifest.contributions]
        scores = stored_scores(manifest, self.store.map)
        reward = self.spec.reward_per_round
        shares = shares_floor(reward, entries, record.total_weight, scores)
        return AuditedRound(closed, manifest, shares)

    def _replay(self, closed: ClosedOnChain, base: Vector, history: History) -> Replayed:
        seen = self.seen(closed)
        return replay_round(self.facts, self.spec, base, seen, self.store.map, history)

    def _judged(self, base: Vector, history: History, places: Sequence[int]) -> Iterator[bool]:
        """Judge of some rounds whether each holds if those before it do, without the chain."""
        done = 0
        for place in places:
            for earlier in self.closed[done:place]:
                history = history.after(self._manifest(earlier), self.spec, self.store.map)
            done, closed = place, self.closed[place]
            if place:
                base = self._model_of(self.closed[place - 1])
            seen = ClosedRound(
                closed.round, closed.closing, closed.entries, _ask_no_chain, _ask_no_chain
            )
            try:
                replay_round(self.facts, self.spec, base, seen, self.store.map, history)
            except _ChainNeeded:
                yield False
            else:
                yield True

    def _model_of(self, closed: ClosedOnChain) -> Vector:
        """The model that a round recorded. Its root is that of its bytes if the round holds."""
        cid = Cid(self._manifest(closed).model.cid)
        values = fetch_vector(self.facts, self.store.map, cid)
        return Vector(values, bytes(values.data), closed.closing.record.model, cid)

    def seen(self, closed: ClosedOnChain) -> ClosedRound:
        """A round as a replay takes it."""
        registered = partial(self._registered, closed.round)
        locked_by = partial(
            self._contract.locked_by, self.facts.study, closed.round, closed.block_number
        )
        return ClosedRound(closed.round, closed.closing, closed.entries, registered, locked_by)

    def check_registered(self, closed: ClosedOnChain, manifest: Manifest) -> None:
        """Check that a round holds what sites registered for it on chain.

        Whether a registration was void is in the court's state. An archive has none of it: there,
        the manifest's word for why the site was dropped is taken as recorded.

        Raises:
            ReplayFailed: one is left out that is not void; names its site.
        """
        taken = {row.site for row in manifest.contributions}
        void = {row.site for row in manifest.dropped if row.reason in ("not_shown", "refused")}
        for event in self._contract.registered(self.facts.study, closed.round):
            site = event.site.lower()
            if site in taken:
                continue
            is_bound = site not in void
            if isinstance(self._contract, WardRound):
                made = Court(self._contract).registration(event)
                is_bound = made.binds(closed.closing.closed_at)
            if is_bound:
                reason = f"{event.site} registered its contribution and was left out"
                raise ReplayFailed(closed.round, "contributions", reason)

    def check_objects(self) -> int:
        """Verify every object in the store against its name, used or not; return how many.

        What `rounds` has read of rounds that hold is not hashed a second time.

        Raises:
            ObjectAltered: one has not the bytes that its name gives.
        """
        count = 0
        for cid in self.store.cids():
            if cid not in self._verified:
                self.store.map(cid)
            count += 1
        return count

    def _registered(self, number: int) -> dict[SiteAddress, bytes]:
        found = self._contract.registered(self.facts.study, number)
        return {event.site: event.entry for event in found}

    def recorded_before(self) -> History:
        """What the rounds before the first leave, as it was recorded; nothing where it is gone."""
        history = History()
        for closed in self.earlier:
            try:
                manifest = self._manifest(closed)
            except WardroundError:
                continue
            history = history.after(manifest, self.spec, self.store.map)
        return history

    def _start(self) -> Vector:
        first = self.closed[0]
        manifest = self._manifest(first)
        model = Vector.of(fetch_vector(self.facts, self.store.map, manifest.base.cid))
        if first.round == 1:
            if model.root != self.facts.params.initial_model:
                raise ReplayFailed(1, "base model", "it is not the study's initial model")
            return model
        before = self.earlier[-1] if self.earlier else None
        if before is None or model.root != before.closing.record.model:
            raise ReplayFailed(first.round, "base model", "it is not the recorded one")
        return model

    def _manifest(self, closed: ClosedOnChain) -> Manifest:
        digest = closed.closing.record.manifest
        return parse_manifest(self.store.map(cid_from_sha256(digest), MANIFEST_MAX_BYTES))


class _ChainNeeded(Exception):
    """What a site registered decides on a round, and is asked of the chain by one process."""


def _ask_no_chain() -> NoReturn:
    raise _ChainNeeded


def _objects(manifest: Manifest, closed: ClosedOnChain) -> Iterator[str]:
    """Name every object that a replay of a round reads."""
    yield cid_from_sha256(closed.closing.record.manifest)
    yield from (manifest.base.cid, manifest.model.cid)
    yield from (rows.cid for rows in manifest.commitments.values())
    for row in manifest.contributions:
        yield from (row.update.cid, row.report.cid)
