"""Demands that are answered from a store: what is read for them, and in what order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.chain.staged import Theatre, theatre
from wardround.audit.answering import Answerer
from wardround.audit.finding import VectorIndex
from wardround.chain.court_reader import DemandStatus
from wardround.chain.ward_round import WardRound
from wardround.protocol.cid import cid_of
from wardround.protocol.errors import StudyMismatch
from wardround.protocol.evidence import Demand, What
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.inspection import entry_leaf
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Recording
from wardround.store import FolderStore
from wardround_simulations.cheats import Cheater


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("answering"), studies=4) as opened:
        yield opened


def test_store_is_read_once_for_many_misses_and_the_soonest_deadline_is_met_first(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = scene.stage(Recording.FULL)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    hidden = vector_bytes(cheater.rows[0].update)
    cheater.close(cheater.draft(), cid_of(hidden))
    stage.close(scene.parties.first)
    raw = [row.entry.pack() for row in cheater.rows]
    second, third = scene.contested(stage, 2), scene.contested(stage, 3)
    demands = [
        (third, Demand(What.MODEL, 0)),
        (second, Demand(What.UPDATE, 0, entry_leaf(raw, 0))),
        (second, Demand(What.UPDATE, 1, entry_leaf(raw, 0))),
        (second, Demand(What.MODEL, 0)),
    ]
    scene.court.approve_deposit(scene.stranger, stage.study, len(demands))
    for contested, demand in demands:
        scene.court.demand_chunk(scene.stranger, contested, demand)
        scene.chain.advance(12)
    reads: Counter[str] = Counter()
    real = FolderStore.map

    def counted(self: FolderStore, cid: str, max_bytes: int = 1 << 32) -> memoryview:
        reads[cid] += 1
        return real(self, cid, max_bytes)

    monkeypatch.setattr(FolderStore, "map", counted)
    answerer = Answerer(scene.court, scene.parties.standby, stage.params, stage.store)

    def rounds() -> list[int]:
        return [one.round for one in answerer.look(lambda: float(scene.chain.timestamp()))]

    assert rounds() == [3, 2]
    first = reads.total()
    for _ in range(3):
        scene.chain.advance(12)
        assert rounds() == []
    assert max(reads.values()) < 6
    assert reads.total() - first < 12  # manifests, and the CID that one names
    stage.store.put(hidden)
    scene.chain.advance(12)
    assert rounds() == [2, 2]
    states = [scene.court.demand_of(scene.court.demand_id(*one)) for one in demands]
    assert {state.status for state in states} == {DemandStatus.ANSWERED}


def test_index_forgets_no_object_that_could_not_be_read(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    model = Cheater(stage, scene.parties.first).position.base
    path = stage.store.folder / str(cid_of(model.data))
    path.write_bytes(bytes(len(model.data)))
    index = VectorIndex(stage.store, stage.params)
    assert index.find(vector_root(model.data)) is None
    path.write_bytes(bytes(model.data))
    assert index.find(vector_root(model.data)) is None  # not looked for before it is refreshed
    index.refresh()
    assert index.find(vector_root(model.data)) is not None


def test_chain_that_moves_between_two_requests_ends_no_answerer(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = scene.stage()
    for _ in range(2):
        stage.close(scene.parties.first)
    scene.court.approve_deposit(scene.stranger, stage.study)
    scene.court.demand_chunk(scene.stranger, scene.contested(stage, 2), Demand(What.MODEL, 0))
    answerer = Answerer(scene.court, scene.parties.standby, stage.params, stage.store)
    read = WardRound.closings

    def lagging(*_: object) -> None:
        monkeypatch.setattr(WardRound, "closings", read)
        raise StudyMismatch("closing of round 2", "committed to", "no event")

    monkeypatch.setattr(WardRound, "closings", lagging)
    assert list(answerer.look(lambda: float(scene.chain.timestamp()))) == []
    assert [one.round for one in answerer.look(lambda: float(scene.chain.timestamp()))] == [2]
