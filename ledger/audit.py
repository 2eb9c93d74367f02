"""Replay a whole study from chain and store alone, and say for each round what was recomputed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from ledger.store import Store
from ledger.study_state import ClosedOnChain
from ledger.ward_round import WardRound
from protocol.cid import cid_from_sha256
from protocol.errors import ReplayFailed
from protocol.identifiers import SiteAddress, StudyId
from protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from protocol.replay import ClosedRound, StudyFacts, fetch_specification, fetch_vector, replay_round
from protocol.settlement import Settlement, Vector
from protocol.study import StudySpec


@dataclass(frozen=True)
class AuditedRound:
    """A round that was recomputed and is what the chain says."""

    closed: ClosedOnChain
    settlement: Settlement


class StudyAudit:
    """An audit of one study: read its facts, then iterate over its rounds."""

    def __init__(self, contract: WardRound, study: StudyId, store: Store) -> None:
        """Read the study from the chain and its specification from the store.

        Raises:
            StudyMismatch: the chain has no such study.
            StoreError: the specification is missing or altered.
            ReplayFailed: it is not the one on chain.
        """
        self.store = store
        self._contract = contract
        self.facts: StudyFacts = contract.facts(study)
        self.closed: list[ClosedOnChain] = contract.closed_rounds(study)
        self.spec: StudySpec = fetch_specification(self.facts, store.map)

    def rounds(self) -> Iterator[AuditedRound]:
        """Recompute every closed round in order.

        Raises:
            ReplayFailed: a round does not follow from its inputs; says which and what.
            StoreError: an object is missing or altered; names it.
            ProtocolError: an object is malformed.
        """
        if not self.closed:
            return
        base = self._initial_model()
        earned: Mapping[SiteAddress, int] = {}
        for closed in self.closed:
            seen = ClosedRound(
                closed.round,
                closed.closing,
                closed.entries,
                registered=partial(self._registered, closed.round),
            )
            settled = replay_round(self.facts, self.spec, base, earned, seen, self.store.map)
            base, earned = settled.model, settled.earned
            yield AuditedRound(closed, settled)

    def check_objects(self) -> int:
        """Verify every object in the store against its name, used or not; return how many.

        Raises:
            ObjectAltered: one is not what its name says.
        """
        count = 0
        for cid in self.store.cids():
            self.store.map(cid)
            count += 1
        return count

    def _registered(self, number: int) -> frozenset[SiteAddress]:
        found = self._contract.registered(self.facts.study, number)
        return frozenset(event.site for event in found)

    def _initial_model(self) -> Vector:
        digest = self.closed[0].closing.record.manifest
        manifest = parse_manifest(self.store.map(cid_from_sha256(digest), MANIFEST_MAX_BYTES))
        model = Vector.of(fetch_vector(self.facts, self.store.map, manifest.base.cid))
        if model.root != self.facts.params.initial_model:
            raise ReplayFailed(1, "base model", "it is not the study's initial model")
        return model
