"""Show on chain what others demand of closed rounds and the store has.

A demand that is not answered by its deadline overturns its round. So a coordinator answers those
about every round of its study, also a predecessor's; an auditor may do it for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from eth_account.signers.local import LocalAccount

from wardround.audit.examination import find_vector
from wardround.audit.notices import Notice
from wardround.chain.court import Court
from wardround.chain.court_events import Demanded
from wardround.chain.court_reader import DemandState, DemandStatus
from wardround.chain.errors import ContractReverted, TransactionRefused, TransactionTimedOut
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.commitments import commit
from wardround.protocol.errors import WardroundError
from wardround.protocol.evidence import Demand, Leaf, What
from wardround.protocol.identifiers import Root
from wardround.protocol.inspection import chunk_leaf, entry_leaf
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
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
        for event in list(self._open.values()):
            state = self._court.demand_of(event.demand)
            if state.status is not DemandStatus.OPEN or now() > state.deadline:
                del self._open[event.demand]
                continue
            yield from self._answer(event, state)

    def _answer(self, event: Demanded, state: DemandState) -> Iterator[Notice]:
        closings = dict(self._court.ward.closings(self._params.study_id))
        closing = closings.get(event.round)
        if closing is None or closing.commitment != state.commitment:
            return  # overturned meanwhile: nothing needs to be shown
        previous = closings.get(event.round - 1, genesis_closing(self._params.initial_model))
        leaf = self._leaf(state, closing, previous.record.model)
        if leaf is None:
            return
        try:
            receipt = self._court.answer_demand(self._signer, event.demand, closing, leaf)
        except (ContractReverted, TransactionRefused, TransactionTimedOut) as error:
            words = getattr(error, "name", error.code)
            if (event.demand, words) not in self._said:
                self._said.add((event.demand, words))
                yield Notice("refused", event.round, str(error))
            return
        if receipt is not None:
            words = f"showed what {event.demander} demanded"
            yield Notice("answered", event.round, words, "answerDemand", receipt.gas_used)

    def _leaf(self, state: DemandState, closing: Closing, base: Root) -> Leaf | None:
        """What was demanded, with its path; None where the store has not got it."""
        try:
            cid = cid_from_sha256(closing.record.manifest)
            manifest = parse_manifest(self._store.get(cid, MANIFEST_MAX_BYTES))
        except WardroundError:
            # Who closed the round may have left no manifest, or a wrong one.
            if state.what is What.ENTRY or state.what.is_named:
                return None
            vector = find_vector(self._store, self._params, state.root)
            return None if vector is None else chunk_leaf(vector.data, state.index)
        entries = [row.entry() for row in manifest.contributions]
        if state.what is What.ENTRY:
            return entry_leaf([entry.pack() for entry in entries], state.index)
        objects = {row.entry().update: row.update.cid for row in manifest.contributions}

        def named(root: bytes) -> str:
            return objects.get(Root(root), manifest.model.cid)

        if not state.what.is_named:
            vector = find_vector(self._store, self._params, state.root, named(state.root))
            return None if vector is None else chunk_leaf(vector.data, state.index)
        roots = [*(entry.update for entry in entries), closing.record.model, base]
        found = [find_vector(self._store, self._params, root, named(root)) for root in roots]
        vectors = [vector for vector in found if vector is not None]
        if len(vectors) < len(found):
            return None
        *updates, model, under = vectors
        change = model.astype(np.int64) - under
        rule = Rule(self._params.rule, self._params.rule_argument)
        weights = [entry.weight for entry in entries]
        committed = commit(rule, self._params.scoring, weights, updates, change)
        demand = Demand(state.what, state.index, row=state.row)
        return Leaf(state.index, answer_of(committed, demand, updates, change), ())
