"""Find out what is wrong with a closed round, and the cheapest way to prove it on chain.

A round that replays is right. For one that does not, everything that a contract could be shown is
looked at by itself, with as little trust in the manifest as possible: entries come from the
chain where they are recorded, and vectors are searched for by their roots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count

from wardround.audit.partial_manifest import PartialManifest
from wardround.chain.study_state import Registration
from wardround.protocol.commitments import commitments_root
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import ProtocolError, SignatureInvalid, WardroundError
from wardround.protocol.evidence import (
    Demand,
    EntryEvidence,
    Evidence,
    TotalsEvidence,
    What,
)
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.inspection import (
    entry_leaf,
    first_wrong_coordinate,
    omission,
    split_entries,
    unsorted_pair,
    wrong_totals,
)
from wardround.protocol.merkle import CHUNK_BYTES, entries_root, vector_root
from wardround.protocol.record import Closing, Record, StudyParams
from wardround.protocol.replay import ClosedRound, StudyFacts, replay_round
from wardround.protocol.settlement import Settlement, Vector
from wardround.protocol.study import StudySpec
from wardround.protocol.whole_inspection import Openings, WholeRound
from wardround.store import Store


@dataclass(frozen=True)
class RoundCase:
    """The chain's facts about a closed round: its closing, the one before, and registrations."""

    closed: ClosedRound
    previous: Closing
    registered: tuple[Registration, ...] = ()
    #: Leaves that were shown on chain in answer to a demand, by tree and place.
    answered: Mapping[tuple[What, bytes], Mapping[int, bytes]] = field(default_factory=dict)
    #: The same of named commitments, whole, by kind, row and page.
    openings: Openings = field(default_factory=dict)

    @property
    def record(self) -> Record:
        """The round's record."""
        return self.closed.closing.record


@dataclass(frozen=True)
class Breach:
    """What is wrong with a round, and what proves it; None where no challenge does.

    Attributes:
        what: in plain words, one sentence.
    """

    round: int
    what: str
    evidence: Evidence | None


@dataclass(frozen=True)
class Verdict:
    """A round that holds, with what follows from it; or one that does not, and why."""

    case: RoundCase
    settlement: Settlement | None
    breach: Breach | None


def examine(
    facts: StudyFacts, spec: StudySpec, base: Vector, case: RoundCase, store: Store
) -> Verdict:
    """Replay a round; when it does not hold, look for the cheapest breach that can be proven.

    Args:
        facts: the study as the chain knows it.
        spec: its specification, already checked.
        base: the model of the round before, already recomputed.
        case: the round as the chain knows it.
        store: where its objects are.
    """
    number = case.closed.round
    manifest = PartialManifest.read(store, case.record.manifest)
    inspector = _Inspector(facts, spec, base, case, store, manifest)
    settlement = None
    try:
        settlement = replay_round(facts, spec, base, case.closed, store.map)
        found = list(inspector.beyond_replay())
        words = ""
    except WardroundError as error:
        found = list(inspector.breaches())
        words = str(error)
    if found:
        # A demand costs a deposit and a deadline: only where nothing can be shown at once.
        best = min(found, key=lambda one: (isinstance(one[1], Demand), one[1].calldata_bytes))
        return Verdict(case, None, Breach(number, *best))
    if settlement is None:
        return Verdict(case, None, Breach(number, words, None))
    return Verdict(case, settlement, None)


def find_vector(
    store: Store, params: StudyParams, root: bytes, named: str | None = None
) -> IntVector | None:
    """Find a vector by its root: under the CID that is named, or anywhere in a store.

    Args:
        store: where to look.
        params: the study's.
        root: the vector's.
        named: the CID under which to look first.
    Returns:
        int32, of a sum int64, shape (P,); None when the store has no such vector.
    """
    size = params.vector_size
    for cid in ([] if named is None else [named]) + [one for one in store.cids() if one != named]:
        try:
            data = store.map(cid, size)
        except WardroundError:
            continue
        if data.nbytes == size and vector_root(data) == root:
            return params.read_vector(data)
    return None


def recorded_model(facts: StudyFacts, case: RoundCase, store: Store) -> Vector | None:
    """The model that a round leaves behind, also where it does not hold; None when not shown."""
    record, manifest = case.record, PartialManifest.read(store, case.record.manifest)
    named = manifest.cids.get(record.model)
    model = find_vector(store, facts.params, record.model, named)
    return None if model is None else Vector.of(model)


_Found = tuple[str, Evidence]


@dataclass(frozen=True)
class _Inspector:
    """Looks at one round from every side that a challenge exists for."""

    _facts: StudyFacts
    _spec: StudySpec
    _base: Vector
    _case: RoundCase
    _store: Store
    _manifest: PartialManifest

    def beyond_replay(self) -> Iterator[_Found]:
        """What a replay does not see: it knows nothing of what sites registered on chain."""
        packed = self._entries()
        if packed is not None:
            yield from self._omitted(split_entries(packed))

    def breaches(self) -> Iterator[_Found]:
        """Everything that can be proven against the round."""
        packed = self._entries()
        if packed is None:
            index = self._first_unanswered(What.ENTRY, self._case.record.contributions)
            yield "the entries under the record are not to be had", Demand(What.ENTRY, index)
            return
        raw = split_entries(packed)
        entries = [Entry.unpack(one) for one in raw]
        totals = wrong_totals(entries, self._case.record)
        if totals is not None:
            yield totals, TotalsEvidence(packed)
        if len(raw) != self._case.record.count:
            # Every other proof is checked against a tree of the size that the record states.
            return
        pair = unsorted_pair(raw)
        if pair is not None:
            first, second = (Entry.unpack(leaf.data).site for leaf in (pair.first, pair.second))
            words = f"{first} stands twice" if first == second else f"{first} precedes {second}"
            yield f"the entries do not ascend by site: {words}", pair
        else:
            yield from self._omitted(raw)
        for index, entry in enumerate(entries):
            flaw = self._flaw(entry)
            if flaw is not None:
                yield flaw, EntryEvidence(entry_leaf(raw, index))
                break
        yield from self._vectors(packed, entries)

    # ---------------------------------------------------------------- entries

    def _entries(self) -> bytes | None:
        """The entries under the record's root, packed; None when they are not shown."""
        committed = self._case.record.contributions
        for packed in (self._case.closed.entries, self._manifest.entries):
            if packed is not None and entries_root(split_entries(packed)) == committed:
                return packed
        return self._answered(What.ENTRY, committed, self._case.record.count)

    def _flaw(self, entry: Entry) -> str | None:
        number, member = self._case.closed.round, self._facts.members.get(entry.site)
        if member is None or not member.belongs(number):
            return f"{entry.site} is not a member in this round"
        if not 1 <= entry.weight <= member.max_weight:
            return f"weight {entry.weight} of {entry.site} is not in 1 .. {member.max_weight}"
        statement = entry.contribution(self._facts.study, number, self._case.previous.record.model)
        try:
            statement.check_signature(self._facts.domain, entry.signature)
        except SignatureInvalid as error:
            return str(error)
        return None

    def _omitted(self, raw: Sequence[bytes]) -> Iterator[_Found]:
        sites, closing = {one[:20] for one in raw}, self._case.closed.closing
        for row in self._case.registered:
            there = bytes.fromhex(row.site[2:]) in sites
            if not there and row.binds(closing.closed_at):
                words = f"{row.site} registered its contribution and was left out"
                yield words, omission(raw, row.site)

    # ---------------------------------------------------------------- vectors

    def _vectors(self, packed: bytes, entries: Sequence[Entry]) -> Iterator[_Found]:
        raw = split_entries(packed)
        updates: list[IntVector] = []
        for index, entry in enumerate(entries):
            update = self._vector(What.UPDATE, entry.update)
            if update is not None:
                updates.append(update)
                continue
            leaf = entry_leaf(raw, index)
            missing = self._first_unanswered(What.UPDATE, entry.update)
            yield (
                f"the update of {entry.site} is not to be had",
                Demand(What.UPDATE, missing, leaf),
            )
        model = self._vector(What.MODEL, self._case.record.model)
        if model is None:
            missing = self._first_unanswered(What.MODEL, self._case.record.model)
            yield "the new model is not to be had", Demand(What.MODEL, missing)
        if model is None or len(updates) < len(entries):
            return
        base, weights = self._base.values, [entry.weight for entry in entries]
        rule = self._spec.rule
        whole = self._whole(raw, updates, model)
        found = whole.first_wrong()
        if found is not None:
            yield found
        try:
            wrong = first_wrong_coordinate(rule, base, updates, weights, model)
        except ProtocolError:
            # Weights or numbers of entries with which nothing can be aggregated: shown otherwise.
            return
        if wrong is not None:
            words = (
                f"coordinate {wrong} of the new model is {model[wrong]}, not what the rule gives"
            )
            evidence = whole.coordinate(wrong)
            if evidence is not None:
                yield words, evidence

    def _whole(
        self, raw: Sequence[bytes], updates: Sequence[IntVector], model: IntVector
    ) -> WholeRound:
        """The round as what it commits to by name is computed from it."""
        committed, named = self._case.record.commitments, self._manifest.commitments
        return WholeRound(
            rule=self._spec.rule,
            scoring=self._spec.scoring,
            entries=raw,
            updates=updates,
            base=self._base.values,
            model=model,
            committed=committed,
            named=named if commitments_root(named) == committed else {},
            find=self._stored,
            openings=self._case.openings,
        )

    def _stored(self, root: bytes, leaves: int, size: int) -> bytes | None:
        """An object of the store whose tree of so many leaves of a size has a root."""
        named = self._manifest.cids.get(root)
        others = (cid for cid in self._store.cids() if cid != named)
        for cid in others if named is None else chain([named], others):
            try:
                data = bytes(self._store.get(cid, leaves * size))
            except WardroundError:
                continue
            parts = [data[start : start + size] for start in range(0, len(data), size)]
            if len(data) == leaves * size and entries_root(parts) == root:
                return data
        return None

    def _vector(self, what: What, root: bytes) -> IntVector | None:
        params = self._facts.params
        found = find_vector(self._store, params, root, self._manifest.cids.get(root))
        if found is not None:
            return found
        answer = self._answered(what, root, -(-params.vector_size // CHUNK_BYTES))
        return None if answer is None else params.read_vector(answer)

    # ---------------------------------------------------------------- answers on chain

    def _first_unanswered(self, what: What, root: bytes) -> int:
        given = self._case.answered.get((what, root), {})
        return next(index for index in count() if index not in given)

    def _answered(self, what: What, root: bytes, leaves: int) -> bytes | None:
        """Put a whole tree's leaves together out of what was given on chain."""
        given = self._case.answered.get((what, root), {})
        if len(given) < leaves:
            return None
        return b"".join(given[index] for index in range(leaves))
