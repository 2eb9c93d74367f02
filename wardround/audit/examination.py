"""Find out what is wrong with a closed round, and the cheapest way to prove it on chain.

A round that replays is right. For one that does not, everything that a contract could be shown is
looked at by itself, with as little trust in the manifest as possible: entries come from the
chain where they are recorded, and vectors are searched for by their roots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wardround.audit.finding import VectorIndex, find_vector, objects_of
from wardround.audit.partial_manifest import PartialManifest
from wardround.audit.shown_leaves import ShownLeaves
from wardround.audit.shown_vector import ShownVector, put_together
from wardround.chain.study_state import Registration
from wardround.protocol.checks import History
from wardround.protocol.commitments import commitments_root
from wardround.protocol.contribution import ENTRY_BYTES, Entry
from wardround.protocol.errors import ProtocolError, SignatureInvalid, WardroundError
from wardround.protocol.evidence import (
    CoordinateEvidence,
    Demand,
    EntryEvidence,
    Evidence,
    Hidden,
    Leaf,
    OrderEvidence,
    TotalsEvidence,
    What,
)
from wardround.protocol.facts import StudyFacts
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.inspection import (
    base_leaf,
    entry_leaf,
    first_wrong_coordinate,
    omission,
    split_entries,
    unfit_update,
    unsorted_pair,
    wrong_totals,
)
from wardround.protocol.merkle import CHUNK_BYTES, entries_root
from wardround.protocol.record import Closing, Record
from wardround.protocol.replay import ClosedRound, replay_round
from wardround.protocol.settlement import Settlement, Vector
from wardround.protocol.study import StudySpec
from wardround.protocol.whole_inspection import Found, WholeRound, scaled_by
from wardround.store import Store


@dataclass(frozen=True)
class RoundCase:
    """The chain's facts about a closed round: its closing, the one before, and registrations.

    Attributes:
        shown: what was shown of it in answer to demands.
        locked_now: of a lock, which is a closing without a model, the present time; else None.
    """

    closed: ClosedRound
    previous: Closing
    registered: tuple[Registration, ...] = ()
    shown: ShownLeaves = field(default_factory=ShownLeaves)
    locked_now: int | None = None
    #: What the rounds before leave for the checks of this one.
    history: History = field(default_factory=History)

    @property
    def closed_at(self) -> int:
        """Until when what was registered had to be shown."""
        return self.closed.closing.closed_at if self.locked_now is None else self.locked_now

    @property
    def record(self) -> Record:
        """The round's record."""
        return self.closed.closing.record


@dataclass(frozen=True)
class Breach:
    """What is wrong with a round, and what proves it; None where no challenge does.

    Attributes:
        what: in plain words, one sentence.
        withheld: where nothing can be proven yet, all that has to be demanded; the evidence is the
            first of these demands.
    """

    round: int
    what: str
    evidence: Evidence | None
    withheld: tuple[Hidden, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A round that holds, with what follows from it; or one that does not, and why.

    Neither, while the model of the round before is withheld.
    """

    case: RoundCase
    settlement: Settlement | None
    breach: Breach | None
    #: With this round, where it holds.
    history: History

    @property
    def is_open(self) -> bool:
        """Whether it may change: what is not shown may be by now."""
        if self.breach is None:
            return self.settlement is None
        return bool(self.breach.withheld)


def examine(
    facts: StudyFacts,
    spec: StudySpec,
    base: Vector | None,
    case: RoundCase,
    store: Store,
    vectors: VectorIndex | None = None,
) -> Verdict:
    """Replay a round; when it does not hold, look for the cheapest breach that can be proven.

    Args:
        facts: the study as the chain knows it.
        spec: its specification, already checked.
        base: the model of the round before, already recomputed; None while it is withheld, when
            only entries are judged, and what else is withheld.
        case: the round as the chain knows it.
        store: where its objects are.
        vectors: of the store, kept between looks at it.
    """
    number = case.closed.round
    manifest = PartialManifest.read(store, case.record.manifest)
    vectors = vectors or VectorIndex(store, facts.params)
    inspector = _Inspector(facts, spec, base, case, store, manifest, vectors)
    settlement, words, history = None, "", case.history
    try:
        if base is None:
            found = list(inspector.breaches())
        else:
            replayed = replay_round(facts, spec, base, case.closed, store.map, history)
            settlement, history = replayed.settlement, replayed.history
            found = list(inspector.beyond_replay())
    except WardroundError as error:
        found = list(inspector.breaches())
        words = str(error)
    breach = _cheapest(number, found)
    if breach is None and settlement is None and base is not None:
        breach = Breach(number, words, None)
    return Verdict(case, settlement if breach is None else None, breach, history)


def examine_lock(
    facts: StudyFacts,
    spec: StudySpec,
    base: Vector | None,
    case: RoundCase,
    store: Store,
    vectors: VectorIndex | None = None,
) -> Breach | None:
    """Look for what keeps an honest coordinator from closing the open round with what is locked.

    Args:
        facts: the study as the chain knows it.
        spec: its specification, already checked.
        base: the model of the round before; None while it is withheld.
        case: the lock as the chain knows it.
        store: where its objects are.
        vectors: of the store, kept between looks at it.
    """
    vectors = vectors or VectorIndex(store, facts.params)
    nothing = PartialManifest(None, {}, {})
    inspector = _Inspector(facts, spec, base, case, store, nothing, vectors)
    return _cheapest(case.closed.round, list(inspector.breaches()))


def _cheapest(number: int, found: Sequence[Found]) -> Breach | None:
    proofs = [(what, one) for what, one in found if isinstance(one, Evidence)]
    if proofs:
        return Breach(number, *min(proofs, key=lambda one: one[1].calldata_bytes))
    # A demand costs a deposit and a deadline: only where nothing can be shown at once.
    hidden = [(what, one) for what, one in found if isinstance(one, Hidden) and one.left()]
    if not hidden:
        return None
    words, first = min(hidden, key=lambda one: one[1].demand.calldata_bytes)
    withheld = tuple(one for _, one in hidden)
    return Breach(number, words, next(first.demands()), withheld)


def recorded_model(facts: StudyFacts, case: RoundCase, store: Store) -> Vector | None:
    """The model that a round leaves behind, also where it does not hold; None when not shown."""
    record, manifest = case.record, PartialManifest.read(store, case.record.manifest)
    named = manifest.cids.get(record.model)
    model = find_vector(store, facts.params, record.model, named)
    if model is None:
        model = put_together(facts.params, case.shown.trees.get((What.MODEL, 0), {}))
    return None if model is None else Vector.of(model)


@dataclass(frozen=True)
class _Inspector:
    """Looks at one round from every side that a challenge exists for."""

    _facts: StudyFacts
    _spec: StudySpec
    _base: Vector | None
    _case: RoundCase
    _store: Store
    _manifest: PartialManifest
    _index: VectorIndex

    def beyond_replay(self) -> Iterator[Found]:
        """What a replay does not see: it knows nothing of what sites registered on chain."""
        packed = self._entries()
        if packed is not None:
            yield from self._omitted(split_entries(packed))

    def breaches(self) -> Iterator[Found]:
        """Everything that can be proven against the round, or that has to be demanded for it."""
        packed = self._entries()
        if packed is None:
            yield from self._some_entries()
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
            yield _disorder(pair), pair
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
        stored = self._stored(committed, self._case.record.count, ENTRY_BYTES)
        if stored is not None:
            # Kept before they were locked, under no name.
            return stored
        given, count = self._given(What.ENTRY), self._case.record.count
        if len(given) < count:
            return None
        return b"".join(given[index].data for index in range(count))

    def _some_entries(self) -> Iterator[Found]:
        """Judge the entries that were shown on chain, and name what else is withheld."""
        given = self._given(What.ENTRY)
        for index, leaf in sorted(given.items()):
            entry = Entry.unpack(leaf.data)
            flaw = self._flaw(entry)
            if flaw is not None:
                yield flaw, EntryEvidence(leaf)
            behind = given.get(index + 1)
            if behind is not None and leaf.data[:20] >= behind.data[:20]:
                pair = OrderEvidence(leaf, behind)
                yield _disorder(pair), pair
            update = self._vector(What.UPDATE, entry.update, index)
            yield from self._withheld_update(entry, leaf, update)
        # One more than there are members cannot all be members', once each.
        count = min(self._case.record.count, len(self._facts.members) + 1)
        words = "the entries under the record are not to be had"
        yield words, Hidden(Demand(What.ENTRY, 0), range(count), given.keys())
        if self._case.locked_now is None:
            yield from self._withheld_model(self._vector(What.MODEL, self._case.record.model))

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

    def _omitted(self, raw: Sequence[bytes]) -> Iterator[Found]:
        sites = {one[:20] for one in raw}
        for row in self._case.registered:
            there = bytes.fromhex(row.site[2:]) in sites
            if not there and row.binds(self._case.closed_at):
                words = f"{row.site} registered its contribution and was left out"
                yield words, omission(raw, row.site)

    # ---------------------------------------------------------------- vectors

    def _vectors(self, packed: bytes, entries: Sequence[Entry]) -> Iterator[Found]:
        raw, updates = split_entries(packed), []
        for index, entry in enumerate(entries):
            update = self._vector(What.UPDATE, entry.update, index)
            updates.append(update)
            if update.whole is None:
                yield from self._withheld_update(entry, entry_leaf(raw, index), update)
        yield from self._unfit(raw, updates)
        if self._case.locked_now is not None:
            return
        model = self._vector(What.MODEL, self._case.record.model)
        yield from self._withheld_model(model)
        if self._base is None and self._case.closed.round == 1:
            # Of a later round it is the model that the round before has to show.
            first = self._vector(What.BASE, self._case.previous.record.model)
            if first.whole is None:
                yield "the first model is not to be had", self._chunks(Demand(What.BASE, 0), first)
        whole = [one.whole for one in updates if one.whole is not None]
        if self._base is None or model.whole is None or len(whole) < len(entries):
            # Rows take no less time to be shown than vectors do.
            params = self._facts.params
            nothing = params.read_vector(bytes(params.vector_size))
            yield from self._whole(raw, [], nothing, nothing).withheld()
            yield from self._wrong_chunk(packed, entries, updates, model)
            return
        base = self._base.values
        judged = self._whole(raw, whole, model.whole, base)
        yield from judged.wrong()
        weights = [entry.weight for entry in entries]
        try:
            wrong = first_wrong_coordinate(self._spec.rule, base, whole, weights, model.whole)
        except ProtocolError:
            # Weights or numbers of entries with which nothing can be aggregated: shown otherwise.
            return
        if wrong is not None:
            evidence = judged.coordinate(wrong)
            if evidence is not None:
                yield _wrong_words(wrong, int(model.whole[wrong])), evidence

    def _unfit(self, raw: Sequence[bytes], updates: Sequence[ShownVector]) -> Iterator[Found]:
        """Prove the first update that no round can take in."""
        if self._base is None:
            return
        rule, bound, base = self._spec.rule, self._spec.update_limit, self._base.values
        for index, update in enumerate(updates):
            if update.whole is None:
                continue
            evidence = unfit_update(rule, bound, entry_leaf(raw, index), update.whole, base)
            if evidence is not None:
                site, place = Entry.unpack(raw[index]).site, evidence.coordinate
                yield (
                    f"coordinate {place} of the update of {site} exceeds the study's bound, "
                    "or leads out of int32",
                    evidence,
                )
                return

    def _withheld_update(self, entry: Entry, leaf: Leaf, update: ShownVector) -> Iterator[Found]:
        if update.whole is None:
            words = f"the update of {entry.site} is not to be had"
            yield words, self._chunks(Demand(What.UPDATE, 0, leaf), update)

    def _withheld_model(self, model: ShownVector) -> Iterator[Found]:
        if model.whole is None:
            yield "the new model is not to be had", self._chunks(Demand(What.MODEL, 0), model)

    def _chunks(self, demand: Demand, vector: ShownVector) -> Hidden:
        chunks = -(-self._facts.params.vector_size // CHUNK_BYTES)
        return Hidden(demand, range(chunks), vector.leaves.keys())

    def _wrong_chunk(
        self,
        packed: bytes,
        entries: Sequence[Entry],
        updates: Sequence[ShownVector],
        model: ShownVector,
    ) -> Iterator[Found]:
        """Prove a coordinate of a chunk that is known of all vectors, though one is not whole."""
        rule, base = self._spec.rule, self._base
        if base is None or scaled_by(rule) is not None:
            # Norms and ranks are taken from whole updates.
            return
        width, weights = rule.id.coordinate_bytes, [entry.weight for entry in entries]
        partial = [one.leaves.keys() for one in (*updates, model) if one.whole is None]
        for index in sorted(set.intersection(*map(set, partial))):
            first = CHUNK_BYTES // width * index
            shown = [one.chunk(index, width) for one in updates]
            under, new = ShownVector(base.values, {}).chunk(index, width), model.chunk(index, width)
            try:
                wrong = first_wrong_coordinate(rule, under, shown, weights, new)
            except ProtocolError:
                return
            if wrong is not None:
                yield (
                    _wrong_words(first + wrong, int(new[wrong])),
                    CoordinateEvidence(
                        first + wrong,
                        packed,
                        tuple(one.leaf(index) for one in updates),
                        base_leaf(rule.id, base.values, index),
                        model.leaf(index),
                        width,
                    ),
                )
                return

    def _whole(
        self,
        raw: Sequence[bytes],
        updates: Sequence[IntVector],
        model: IntVector,
        base: IntVector,
    ) -> WholeRound:
        """The round as what it commits to by name is computed from it."""
        committed, named = self._case.record.commitments, self._manifest.commitments
        return WholeRound(
            rule=self._spec.rule,
            scoring=self._spec.scoring,
            entries=raw,
            updates=updates,
            base=base,
            model=model,
            committed=committed,
            named=named if commitments_root(named) == committed else {},
            find=self._stored,
            openings=self._case.shown.openings,
        )

    def _stored(self, root: bytes, leaves: int, size: int) -> bytes | None:
        """An object of the store whose tree of so many leaves of a size has a root."""
        for _, view in objects_of(self._store, leaves * size, self._manifest.cids.get(root)):
            data = bytes(view)
            parts = [data[start : start + size] for start in range(0, len(data), size)]
            if entries_root(parts) == root:
                return data
        return None

    def _vector(self, what: What, root: bytes, place: int = 0) -> ShownVector:
        """An update of the entry at a place, or the model, as far as it is known."""
        params, given = self._facts.params, self._given(what, place)
        found = self._index.find(root, self._manifest.cids.get(root))
        return ShownVector(put_together(params, given) if found is None else found, given)

    def _given(self, what: What, place: int = 0) -> Mapping[int, Leaf]:
        """Leaves that were shown on chain."""
        return self._case.shown.trees.get((what, place), {})


def _wrong_words(coordinate: int, value: int) -> str:
    return f"coordinate {coordinate} of the new model is {value}, not what the rule gives"


def _disorder(pair: OrderEvidence) -> str:
    first, second = (Entry.unpack(leaf.data).site for leaf in (pair.first, pair.second))
    words = f"{first} stands twice" if first == second else f"{first} precedes {second}"
    return f"the entries do not ascend by site: {words}"
