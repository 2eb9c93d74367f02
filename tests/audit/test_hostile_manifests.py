"""Manifests and records that are made to end who reads them: an auditor, or one who answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.audit.test_auditor import auditor_of, challenger, kinds
from tests.chain.staged import Theatre, theatre
from wardround.audit.answering import Answerer
from wardround.chain.court_reader import DemandStatus
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.evidence import Demand, What
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.identifiers import hex_of
from wardround_simulations.cheats import SHIFTED, Cheater


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("hostile-manifests"), studies=4) as opened:
        yield opened


def test_commitment_whose_name_is_no_text_keeps_no_wrong_round_from_its_proof(
    scene: Theatre,
) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    values = cheater.draft().model.values.copy()
    values[SHIFTED] += 1
    draft = cheater.draft().with_model(values)
    named = {"root": hex_of(bytes(32)), "cid": ""}
    manifest = json.dumps({"commitments": {"\ud800": named}}).encode()
    for data in (manifest, draft.model.data, *(vector_bytes(row.update) for row in draft.rows)):
        stage.store.put(data)
    stage.store.put(b"".join(row.entry.pack() for row in draft.rows))
    cheater._reach_cut_off()
    stage.contract.close_round(
        scene.parties.first,
        stage.facts,
        2,
        replace(draft.record, manifest=sha256_digest(manifest)),
        cheater.position.previous,
        [row.entry for row in draft.rows],
    )
    auditor = auditor_of(scene, stage, challenger(scene))
    assert kinds(auditor.step()) == [("holds", 1), ("breach", 2), ("challenged", 2)]


def test_demand_that_a_wrong_count_leaves_without_an_answer_keeps_no_other_from_its_own(
    scene: Theatre,
) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    stage.close(scene.parties.first)
    honest = scene.contested(stage, 2)
    cheater = Cheater(stage, scene.parties.first)
    draft = cheater.draft()
    count = draft.record.count
    cheater.close(replace(draft, record=replace(draft.record, count=count + 1)))
    wrong = scene.contested(stage, 3)
    scene.court.approve_deposit(scene.stranger, stage.study, 2)
    scene.court.demand_chunk(scene.stranger, wrong, Demand(What.ENTRY, count))
    scene.chain.advance(12)
    model = Demand(What.MODEL, 0)
    scene.court.demand_chunk(scene.stranger, honest, model)
    answerer = Answerer(scene.court, scene.parties.standby, stage.params, stage.store)
    notices = list(answerer.look(lambda: float(scene.chain.timestamp())))
    assert [one.round for one in notices] == [2]
    state = scene.court.demand_of(scene.court.demand_id(honest, model))
    assert state.status is DemandStatus.ANSWERED
