"""Show on chain what others demand of closed rounds and the store has.

A demand that is not answered by its deadline overturns its round. So a coordinator answers those
about every round of its study, also a predecessor's; an auditor may do it for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from eth_account.signers.local import LocalAccount

from wardround.audit.finding import VectorIndex, find_entries
from wardround.audit.notices import Notice
from wardround.chain.court import Court, CourtCall
from wardround.chain.court_events import Demanded
from wardround.chain.court_reader import DemandState, DemandStatus
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.commitments import Commitments, commit
from wardround.protocol.contribution import Entry, contributions_root, unpack_entries
from wardround.protocol.errors import ProtocolError, StudyMismatch, WardroundError
from wardround.protocol.evidence import Demand, Leaf, What
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.identifiers import bytes32
from wardround.protocol.inspection import chunk_leaf, entry_leaf
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, Manifest, parse_manifest
from wardround.protocol.record import Closing, StudyParams, genesis_closing
from wardround.protocol.rules import Rule
from wardround.protocol.whole_inspection import answer_of
from wardround.store import Store

#: Read again, for the case that the chain has reorganised.
_OVERLAP_BLOCKS = 100


class Answerer:
    """Answers demands about one study."""

    def __init__(
        self, court: Court, signer: LocalAccount, params: StudyParams, store: Store
    ) -> None:
        """Take who pays for the transactions and where the data is."""
        self._court, self._signer = court, signer
        self._params, self._store = params, store
        self._seen_through = -1
        self._open: dict[bytes, Demanded] = {}
        self._said: set[tuple[bytes, str]] = set()
        #: States of demands that the store had no answer to.
        self._lacking: dict[bytes, DemandState] = {}
        self._vectors = VectorIndex(store, params)

    def look(self, now: Callable[[], float]) -> Iterator[Notice]:
        """Answer what is demanded by now; without a new block there is nothing to look for.

        Args:
            now: seconds since 1970.
        Raises:
            ChainError: the chain cannot be asked.
        """
        head = self._court.chain.block().number
        if head == self._seen_through:
            return
        start = max(0, self._seen_through - _OVERLAP_BLOCKS)
        for event in self._court.demands(self._params.study_id, start, head):
            self._open[event.demand] = event
        self._seen_through = head
        if not self._open:
            return
        self._vectors.refresh()
        try:
            closings = self._closings()
        except StudyMismatch:
            # The chain has moved between two requests, or another endpoint lags: look again.
            self._seen_through = head - 1
            return
        asked: dict[bytes, list[tuple[Demanded, DemandState]]] = {}
        # The soonest deadline first; with each all about its closing, which is read once for them.
        for event in sorted(self._open.values(), key=lambda one: one.deadline):
            state = self._lacking.get(event.demand) or self._court.demand_of(event.demand)
            if state.status is not DemandStatus.OPEN or now() > state.deadline:
                del self._open[event.demand]
                self._lacking.pop(event.demand, None)
            elif state.commitment in closings:
                asked.setdefault(state.commitment, []).append((event, state))
            # Otherwise it is overturned meanwhile: nothing needs to be shown.
        for commitment, demands in asked.items():
            # Let go of what was read for one closing before the next.
            shown = closings.pop(commitment)
            yield from self._answer(demands, shown)

    def _closings(self) -> dict[bytes, _ShownRound]:
        """What there is of all closings and of the open round's lock, by commitment."""
        ward, study = self._court.ward, self._params.study_id
        found: dict[bytes, _ShownRound] = {}
        last = genesis_closing(self._params.initial_model)

        def add(closing: Closing, recorded: Callable[[], bytes | None]) -> None:
            found[closing.commitment] = _ShownRound(
                self._params, self._store, self._vectors, closing, last, recorded
            )

        for number, closing in ward.closings(study):
            add(closing, partial(self._recorded, number))
            last = closing
        number = len(found) + 1
        locked = ward.locked_cohort(study, number) if self._params.locked_cohort else None
        if locked is not None:
            add(locked.closing, partial(ward.locked_entries, study, number))
        return found

    def _recorded(self, number: int) -> bytes | None:
        return self._court.ward.closed(self._params.study_id, number).entries

    def _answer(
        self, demands: Sequence[tuple[Demanded, DemandState]], shown: _ShownRound
    ) -> Iterator[Notice]:
        asked: dict[str, Demanded] = {}

        def parts() -> Iterator[CourtCall]:
            for event, state in demands:
                leaf = shown.leaf(state)
                if leaf is None:
                    self._lacking[event.demand] = state
                    continue
                part = self._court.answering(event.demand, shown.closing, leaf)
                asked[part.label] = event
                yield part

        for sent in self._court.send_together(self._signer, parts()):
            for event in (asked[part.label] for part in sent.parts):
                if sent.error is not None:
                    words = getattr(sent.error, "name", sent.error.code)
                    if (event.demand, words) not in self._said:
                        self._said.add((event.demand, words))
                        yield Notice("refused", event.round, str(sent.error))
                elif sent.receipt is not None:
                    words = f"showed what {event.demander} demanded"
                    gas = sent.receipt.gas_used // len(sent.parts)
                    yield Notice("answered", event.round, words, "answerDemand", gas)


@dataclass(frozen=True)
class _ShownRound:
    """What a store has of one closing, or of a lock; each thing is read and computed once."""

    params: StudyParams
    store: Store
    vectors: VectorIndex
    closing: Closing
    previous: Closing
    #: Entries in the calldata, where it has them.
    recorded: Callable[[], bytes | None]
    _last_vector: dict[bytes, IntVector] = field(default_factory=dict, init=False)
    _absent: set[bytes] = field(default_factory=set, init=False)

    def leaf(self, state: DemandState) -> Leaf | None:
        """What was demanded, with its path; None where it is not to be had, or is nowhere."""
        try:
            return self._leaf(state)
        except ProtocolError:
            # A record that counts more entries than its tree has: no answer to this, but to others.
            return None

    def _leaf(self, state: DemandState) -> Leaf | None:
        if state.what is What.ENTRY:
            return None if self._entries is None else entry_leaf(self._packed, state.index)
        if not state.what.is_named:
            vector = self._vector(state.root)
            return None if vector is None else chunk_leaf(vector.data, state.index)
        if self._committed is None:
            return None
        committed, updates, change = self._committed
        demand = Demand(state.what, state.index, row=state.row)
        return Leaf(state.index, answer_of(committed, demand, updates, change), ())

    @cached_property
    def _manifest(self) -> Manifest | None:
        """None also where who closed the round has left a wrong one; a lock has none."""
        try:
            cid = cid_from_sha256(self.closing.record.manifest)
            return parse_manifest(self.store.get(cid, MANIFEST_MAX_BYTES))
        except WardroundError:
            return None

    @cached_property
    def _entries(self) -> list[Entry] | None:
        record = self.closing.record
        if self._manifest is not None:
            entries = [row.entry() for row in self._manifest.contributions]
            if contributions_root(entries) == record.contributions:
                return entries
        found = find_entries(self.store, record.contributions, record.count)
        if found is not None:
            return found
        try:
            entries = unpack_entries(self.recorded() or b"")
        except (ProtocolError, StudyMismatch):
            return None
        return entries if contributions_root(entries) == record.contributions else None

    @cached_property
    def _packed(self) -> list[bytes]:
        return [entry.pack() for entry in self._entries or ()]

    @cached_property
    def _cids(self) -> dict[bytes, str]:
        if self._manifest is None:
            return {}
        named = [self._manifest.base, self._manifest.model]
        named += [row.update for row in self._manifest.contributions]
        return {bytes32(one.root, "root"): one.cid for one in named}

    def _found(self, root: bytes) -> IntVector | None:
        found = None
        if root not in self._absent:
            found = self.vectors.find(root, self._cids.get(root))
        if found is None:
            self._absent.add(root)
        return found

    def _vector(self, root: bytes) -> IntVector | None:
        """A vector of the round; the last one is kept, since many chunks of it may be demanded."""
        if root not in self._last_vector:
            found = self._found(root)
            if found is None:
                return None
            self._last_vector.clear()
            self._last_vector[root] = found
        return self._last_vector[root]

    @cached_property
    def _committed(self) -> tuple[Commitments, list[IntVector], IntVector] | None:
        """What the round commits to by name, with the updates and the change under it."""
        if self._entries is None:
            return None
        model, base = self.closing.record.model, self.previous.record.model
        roots = [*(entry.update for entry in self._entries), model, base]
        found = [self._found(root) for root in roots]
        vectors = [vector for vector in found if vector is not None]
        if len(vectors) < len(found):
            return None
        *updates, new, under = vectors
        change = new.astype(np.int64) - under
        rule = Rule(self.params.rule, self.params.rule_argument)
        weights = [entry.weight for entry in self._entries]
        return commit(rule, self.params.scoring, weights, updates, change), updates, change
