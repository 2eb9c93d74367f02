"""What is wrong with a round, and the cheapest way to prove it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from tests.protocol.rounds import CAP, Memory, address_of, key_of, study_spec
from wardround.audit.examination import (
    RoundCase,
    Verdict,
    examine,
    recorded_model,
)
from wardround.audit.finding import find_vector
from wardround.audit.shown_leaves import ShownLeaves
from wardround.chain.study_state import Registration
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.cid import Cid, cid_of
from wardround.protocol.commitments import commitments_root
from wardround.protocol.contribution import Entry, contributions_root, pack_entries
from wardround.protocol.evidence import (
    CoordinateEvidence,
    Demand,
    EntryEvidence,
    OmissionEvidence,
    OrderEvidence,
    TotalsEvidence,
    UpdateEvidence,
    What,
)
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.identifiers import Digest, Root, SiteAddress, hex_of
from wardround.protocol.inspection import chunk_leaf, entry_leaf, split_entries
from wardround.protocol.manifest import Manifest, RowsRef
from wardround.protocol.record import Closing, Record, genesis_closing
from wardround.protocol.replay import ClosedRound
from wardround.protocol.settlement import Settlement, Vector
from wardround.store import Store
from wardround.store.errors import ObjectMissing

Made = tuple[Entry, str, str]


class DictStore(Store):
    """The objects of a study in memory, as a store."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def put(self, data: bytes | memoryview) -> Cid:
        cid = cid_of(data)
        self.objects[cid] = bytes(data)
        return cid

    def get(self, cid: str, max_bytes: int = 2**32) -> bytes:
        if cid not in self.objects or len(self.objects[cid]) > max_bytes:
            raise ObjectMissing(cid, "memory")
        return self.objects[cid]

    def map(self, cid: str, max_bytes: int = 2**32) -> memoryview:
        return memoryview(self.get(cid, max_bytes))

    def has(self, cid: str) -> bool:
        return cid in self.objects

    def cids(self) -> Iterator[Cid]:
        return (Cid(cid) for cid in sorted(self.objects))


@dataclass
class Scene:
    """A study's second round, still open."""

    memory: Memory
    previous: Closing

    @classmethod
    def of(cls, recording: str = "root", **tables: Any) -> Scene:
        spec = study_spec(chain={"recording": recording}, **tables)
        memory = Memory(spec, sites=4)
        settled, closed = memory.settle()
        memory.go_on(settled)
        return cls(memory, closed.closing)

    @property
    def store(self) -> DictStore:
        return DictStore(self.memory.objects)

    def examine(self, closed: ClosedRound, *registered: Registration, **more: Any) -> Verdict:
        case = RoundCase(closed, self.previous, registered, **more)
        memory = self.memory
        return examine(memory.facts, memory.spec, memory.base, case, self.store)

    def forged(
        self,
        settled: Settlement,
        entries: Sequence[Entry],
        manifest: Manifest | None = None,
        **changes: Any,
    ) -> ClosedRound:
        """Close with a record of one's own, over a manifest of one's own."""
        data = (manifest or settled.manifest).encode()
        self.memory.put(data)
        record: Record = replace(settled.record, manifest=sha256_digest(data), **changes)
        return self.memory.closed(record, entries)

    def round_of(self, made: Sequence[Made]) -> ClosedRound:
        """Everything follows from these contributions, whatever they are."""
        return self.memory.settle(made)[1]


def breach_of(verdict: Verdict) -> tuple[str, Any]:
    assert verdict.settlement is None
    assert verdict.breach is not None
    return verdict.breach.what, verdict.breach.evidence


@pytest.mark.parametrize("recording", ["full", "root"])
def test_round_holds_when_nothing_is_wrong(recording: str) -> None:
    scene = Scene.of(recording)
    settled, closed = scene.memory.settle()
    verdict = scene.examine(closed)
    assert verdict.breach is None
    assert verdict.settlement is not None
    assert verdict.settlement.record == settled.record


# ---------------------------------------------------------------- entries


def test_entry_of_a_stranger_is_found() -> None:
    scene = Scene.of()
    stranger = address_of(key_of(99))
    scene.memory.keys[stranger] = key_of(99)
    what, evidence = breach_of(scene.examine(scene.round_of(scene.memory.contributions())))
    assert isinstance(evidence, EntryEvidence)
    assert Entry.unpack(evidence.entry.data).site == stranger
    assert what == f"{stranger} is not a member in this round"


def test_weight_above_its_cap_is_found() -> None:
    scene = Scene.of()
    made = scene.memory.contributions()
    made[2] = scene.memory.contribution(made[2][0].site, weight=CAP + 1)
    what, evidence = breach_of(scene.examine(scene.round_of(made)))
    assert isinstance(evidence, EntryEvidence)
    assert evidence.entry.index == 2
    assert f"not in 1 .. {CAP}" in what


def test_entry_signed_by_nobody_is_found() -> None:
    scene = Scene.of()
    made = scene.memory.contributions()
    made[1] = (replace(made[1][0], signature=bytes(65)), *made[1][1:])
    what, evidence = breach_of(scene.examine(scene.round_of(made)))
    assert isinstance(evidence, EntryEvidence)
    assert evidence.entry.index == 1
    assert made[1][0].site in what


@pytest.mark.parametrize("swap", [False, True], ids=["twice", "unsorted"])
def test_entries_that_do_not_ascend_are_found(swap: bool) -> None:
    scene = Scene.of()
    made = scene.memory.contributions()
    made = [made[1], made[0], *made[2:]] if swap else [made[0], *made]
    what, evidence = breach_of(scene.examine(scene.round_of(made)))
    assert isinstance(evidence, OrderEvidence)
    assert (evidence.first.index, evidence.second.index) == (0, 1)
    assert ("precedes" if swap else "stands twice") in what


@pytest.mark.parametrize("field", ["count", "total_weight"])
def test_wrong_totals_are_found(field: str) -> None:
    scene = Scene.of()
    made = scene.memory.contributions()
    entries = [entry for entry, _, _ in made]
    settled, _ = scene.memory.settle(made)
    wrong = getattr(settled.record, field) + 1
    what, evidence = breach_of(scene.examine(scene.forged(settled, entries, **{field: wrong})))
    assert isinstance(evidence, TotalsEvidence)
    assert evidence.entries == pack_entries(entries)
    assert str(wrong) in what


def registration(scene: Scene, made: Made, closed_at: int, **changes: Any) -> Registration:
    values = {"at": closed_at - 1, **changes}
    return Registration(2, made[0].site, made[0].pack(), **values)


@pytest.mark.parametrize("place", range(4))
def test_registered_site_that_is_left_out_is_found(place: int) -> None:
    scene = Scene.of("full")
    made = scene.memory.contributions()
    closed = scene.round_of(made[:place] + made[place + 1 :])
    at = closed.closing.closed_at
    what, evidence = breach_of(scene.examine(closed, registration(scene, made[place], at)))
    assert isinstance(evidence, OmissionEvidence)
    assert (evidence.site, evidence.place) == (made[place][0].site, place)
    assert "left out" in what


@pytest.mark.parametrize(
    "changes",
    [{"refused": True}, {"unanswered": 1, "deadline": 5}],
    ids=["refused", "not shown"],
)
def test_registration_that_does_not_bind_is_no_breach(changes: dict[str, Any]) -> None:
    scene = Scene.of("full")
    made = scene.memory.contributions()
    closed = scene.round_of(made[1:])
    row = registration(scene, made[0], closed.closing.closed_at, **changes)
    assert scene.examine(closed, row).breach is None


def test_registration_binds_while_an_answer_could_still_come() -> None:
    row = Registration(2, SiteAddress("0x"), b"", at=100, deadline=500, unanswered=1)
    assert row.binds(closed_at=500)
    assert not row.binds(closed_at=501)
    assert replace(row, unanswered=0).binds(closed_at=501)


def test_registered_site_that_is_there_is_no_breach() -> None:
    scene = Scene.of("full")
    made = scene.memory.contributions()
    closed = scene.round_of(made)
    row = registration(scene, made[0], closed.closing.closed_at)
    assert scene.examine(closed, row).breach is None


# ---------------------------------------------------------------- commitments


def test_unknown_commitment_is_seen_and_cannot_be_proven() -> None:
    scene = Scene.of()
    made = scene.memory.contributions()
    settled, _ = scene.memory.settle(made)
    named = {"measures": Digest(b"\x07" * 32)}
    manifest = settled.manifest.model_copy(
        update={
            "commitments": {
                name: RowsRef(root=hex_of(root), cid=settled.model.cid)
                for name, root in named.items()
            }
        }
    )
    entries, root = [entry for entry, _, _ in made], commitments_root(named)
    closed = scene.forged(settled, entries, manifest, commitments=root)
    what, evidence = breach_of(scene.examine(closed))
    assert evidence is None
    assert "unknown commitment 'measures'" in what


# ---------------------------------------------------------------- vectors


@pytest.mark.parametrize("place", [0, 299])
def test_update_beyond_the_bound_is_found(place: int) -> None:
    scene = Scene.of("full")
    made = scene.memory.contributions()
    update = np.zeros(300, np.int32)
    update[place] = -(2**24) - 1  # the bound is 16.0 at 20 bits
    made[2] = scene.memory.contribution(made[2][0].site, update)
    what, evidence = breach_of(scene.examine(scene.round_of(made)))
    assert isinstance(evidence, UpdateEvidence)
    assert (evidence.entry.index, evidence.coordinate) == (2, place)
    chunk = place // 256
    assert evidence.update == chunk_leaf(update.data, chunk)
    assert evidence.base == chunk_leaf(scene.memory.base.data, chunk)
    assert f"coordinate {place} of the update of {made[2][0].site}" in what


def shifted(scene: Scene, coordinate: int, made: Sequence[Made]) -> ClosedRound:
    settled, _ = scene.memory.settle(made)
    values = settled.model.values.copy()
    values[coordinate] += 1
    model = Vector.of(values)
    scene.memory.put(model.data)
    manifest = settled.manifest.model_copy(update={"model": model.ref()})
    entries = [entry for entry, _, _ in made]
    return scene.forged(settled, entries, manifest, model=model.root)


@pytest.mark.parametrize("coordinate", [0, 255, 256, 299])
@pytest.mark.parametrize("rule", ["mean", "median", "trimmed_mean"])
def test_first_differing_coordinate_is_found(coordinate: int, rule: str) -> None:
    trim = int(rule == "trimmed_mean")
    aggregation = {"rule": rule, "trim": trim, "min_sites": 3}
    scene = Scene.of("full", aggregation=aggregation)
    made = scene.memory.contributions()
    what, evidence = breach_of(scene.examine(shifted(scene, coordinate, made)))
    assert isinstance(evidence, CoordinateEvidence)
    assert evidence.coordinate == coordinate
    assert split_entries(evidence.entries) == [entry.pack() for entry, _, _ in made]
    assert what.startswith(f"coordinate {coordinate} of the new model")


def test_cheapest_of_several_breaches_is_chosen() -> None:
    scene = Scene.of()
    made = scene.memory.contributions()
    made[1] = (replace(made[1][0], signature=bytes(65)), *made[1][1:])
    _, evidence = breach_of(scene.examine(shifted(scene, 5, made)))
    assert isinstance(evidence, EntryEvidence)


def test_shifted_model_is_proven_though_the_manifest_hides_where_everything_is() -> None:
    scene = Scene.of("full")
    made = scene.memory.contributions()
    closed = shifted(scene, 5, made)
    record = replace(closed.closing.record, manifest=sha256_digest(b"nothing"))
    closed = scene.memory.closed(record, [entry for entry, _, _ in made])
    _, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, CoordinateEvidence)
    assert evidence.coordinate == 5


@pytest.mark.parametrize("recording", ["full", "root"])
def test_update_that_is_not_shown_is_demanded(recording: str) -> None:
    scene = Scene.of(recording)
    made = scene.memory.contributions()
    closed = scene.round_of(made)
    data = scene.memory.objects.pop(made[2][1])
    what, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, Demand)
    assert (evidence.what, evidence.index) == (What.UPDATE, 0)
    assert evidence.entry is not None
    assert evidence.entry.index == 2
    assert "not to be had" in what
    # What was shown on chain is not demanded again; all of it together is the update.
    tree, leaves = (What.UPDATE, 2), {index: chunk_leaf(data, index) for index in range(2)}
    first = scene.examine(closed, shown=ShownLeaves({tree: {0: leaves[0]}}))
    assert breach_of(first)[1].index == 1
    both = scene.examine(closed, shown=ShownLeaves({tree: leaves}))
    assert breach_of(both)[1] is None


def test_model_that_is_not_shown_is_demanded() -> None:
    scene = Scene.of()
    settled, closed = scene.memory.settle()
    del scene.memory.objects[settled.model.cid]
    _, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, Demand)
    assert (evidence.what, evidence.entry) == (What.MODEL, None)


@pytest.mark.parametrize(
    "shown", [None, b"{}", b"[1]", b'{"contributions": 5}', b"\xff", b"9" * 5000]
)
def test_entries_that_are_not_shown_are_demanded(shown: bytes | None) -> None:
    scene = Scene.of()
    made = scene.memory.contributions()
    record = scene.memory.settle(made)[0].record
    record = replace(record, manifest=sha256_digest(shown or b"?"))
    if shown is not None:
        scene.memory.put(shown)
    closed = scene.memory.closed(record, [])
    _, evidence = breach_of(scene.examine(closed))
    assert isinstance(evidence, Demand)
    assert (evidence.what, evidence.index) == (What.ENTRY, 0)
    # Once all were shown on chain, the round is looked at as any other.
    raw = [entry.pack() for entry, _, _ in made]
    given = {index: entry_leaf(raw, index) for index in range(len(raw))}
    found = scene.examine(closed, shown=ShownLeaves({(What.ENTRY, 0): given}))
    assert breach_of(found)[1] is None
    # The model that the round leaves behind is found by its root.
    model = recorded_model(scene.memory.facts, found.case, scene.store)
    assert model is not None
    del scene.memory.objects[model.cid]
    assert recorded_model(scene.memory.facts, found.case, scene.store) is None


def test_entries_are_read_from_a_manifest_that_is_none_otherwise() -> None:
    scene = Scene.of()
    made = scene.memory.contributions()
    made[0] = scene.memory.contribution(made[0][0].site, weight=CAP + 1)
    settled, _ = scene.memory.settle(made)
    value = json.loads(settled.manifest_data)
    value["contributions"][1]["weight"] = 2**63  # more than a manifest may state
    data = json.dumps({"contributions": value["contributions"], "more": []}).encode()
    entries = [entry for entry, _, _ in made]
    entries[1] = replace(entries[1], weight=2**63)
    record = replace(
        settled.record,
        manifest=sha256_digest(data),
        contributions=contributions_root(entries),
    )
    scene.memory.put(data)
    _, evidence = breach_of(scene.examine(scene.memory.closed(record, [])))
    assert isinstance(evidence, EntryEvidence)


def test_vector_is_found_by_its_root_wherever_it_is() -> None:
    scene = Scene.of()
    base, facts = scene.memory.base, scene.memory.facts
    found = find_vector(scene.store, facts.params, base.root, "b" + "a" * 58)
    assert found is not None
    assert np.array_equal(found, base.values)
    assert find_vector(scene.store, facts.params, bytes(32)) is None


def test_model_after_a_round_that_does_not_hold_is_what_was_recorded() -> None:
    scene = Scene.of("full")
    closed = shifted(scene, 5, scene.memory.contributions())
    verdict = scene.examine(closed)
    model = recorded_model(scene.memory.facts, verdict.case, scene.store)
    assert model is not None
    assert model.root == closed.closing.record.model
    assert genesis_closing(Root(bytes(32))).record.count == 0
    assert vector_bytes(model.values) == model.data
