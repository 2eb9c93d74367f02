"""Rows and sum trees that a coordinator hides, demanded and shown on a real contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.audit.test_auditor import auditor_of, challenger, kinds
from tests.chain.staged import Theatre, theatre
from wardround.audit import answering
from wardround.audit.answering import Answerer
from wardround.audit.challenge import send_challenge
from wardround.audit.finding import VectorIndex
from wardround.audit.notices import Powers
from wardround.chain.court_events import Demanded
from wardround.chain.court_reader import DemandStatus
from wardround.protocol.cid import cid_of
from wardround.protocol.commitments import SCORES, Commitments, commit, running_total_of
from wardround.protocol.evidence import Demand, Leaf, What
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.record import RuleId
from wardround.protocol.whole_inspection import answer_of
from wardround_simulations.cheats import Cheater, Draft


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("rows"), studies=4) as opened:
        yield opened


def answer(draft: Draft, cheater: Cheater, demand: Demand) -> bytes:
    updates = [row.update for row in draft.rows]
    change = draft.model.values.astype(np.int64) - cheater.position.base.values
    return answer_of(draft.commitments, demand, updates, change)


def test_wrong_sum_whose_rows_are_shown_only_on_chain_is_proven(scene: Theatre) -> None:
    stage = scene.stage(rule=RuleId.CLIPPED_MEAN)
    auditor = auditor_of(scene, stage, challenger(scene))
    stage.close(scene.parties.first)
    assert kinds(auditor.step()) == [("holds", 1)]
    cheater = Cheater(stage, scene.parties.first)
    honest = cheater.draft()
    row = honest.commitments.rows[SCORES][3]
    total = (2 * running_total_of(row)).to_bytes(32)
    draft = honest.with_row(SCORES, 3, row[:96] + total)
    cheater.close(draft, hidden=cid_of(draft.commitments.data(SCORES)))
    assert kinds(auditor.step()) == [("breach", 2), ("demanded", 2)]
    events = [one for one in scene.court.events(stage.study) if isinstance(one, Demanded)]
    assert [(one.what, one.entry_index) for one in events] == [
        (What.SCORES, row) for row in (3, 2, 1, 0)
    ]
    closing = scene.contested(stage, 2).closing
    for event in events:
        demand = Demand(event.what, event.index, row=event.entry_index)
        opening = answer(draft, cheater, demand)
        leaf = Leaf(event.index, opening, ())
        # Another page, or another row, is no answer.
        altered = replace(leaf, data=opening[:-1] + bytes([opening[-1] ^ 1]))
        with pytest.raises(Exception, match="Court_NotIncluded"):
            scene.court.answer_demand(scene.stranger, event.demand, closing, altered)
        scene.court.answer_demand(scene.stranger, event.demand, closing, leaf)
        # The last row is wrong, and proven with the one before it.
        if event.entry_index == 2:
            break
        assert auditor.step() == []
    notices = auditor.step()
    (proven,) = [notice for notice in notices if notice.kind == "challenged"]
    assert proven.challenge == "challengeScore"
    assert scene.ward.study(stage.study).head == 2


def test_auditor_shows_rows_and_pages_that_others_demand(scene: Theatre) -> None:
    stage = scene.stage(rule=RuleId.MULTI_KRUM)
    auditor = auditor_of(scene, stage, Powers(scene.parties.auditor, answer=True))
    for _ in range(2):
        stage.close(scene.parties.first)
    auditor.step()
    contested, court, stranger = scene.contested(stage, 2), scene.court, scene.stranger
    demands = [Demand(What.DISTANCES, 0, row=5), Demand(What.RANKS, 0, row=2)]
    for demand in demands:
        court.approve_deposit(stranger, stage.study)
        court.demand_chunk(stranger, contested, demand)
    assert kinds(auditor.step()) == [("answered", 2), ("answered", 2)]
    for demand in demands:
        state = court.demand_of(court.demand_id(contested, demand))
        assert (state.status, state.what, state.row) == (
            DemandStatus.ANSWERED,
            demand.what,
            demand.row,
        )


def test_demands_about_one_round_are_answered_from_one_computation(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = scene.stage(rule=RuleId.MULTI_KRUM)
    for _ in range(3):
        stage.close(scene.parties.first)
    court, stranger = scene.court, scene.stranger
    named = [Demand(What.DISTANCES, 0, row=row) for row in range(6)]
    named += [Demand(What.RANKS, 0, row=row) for row in range(4)]
    chunks = [Demand(What.MODEL, index) for index in range(3)]
    chunks += [Demand(What.BASE, index) for index in range(3)]
    for pair in zip(named, named, strict=True):
        # The two rounds are asked about in turn.
        for number, demand in zip((2, 3), pair, strict=True):
            send_challenge(
                court, stranger, scene.contested(stage, number), demand, rule=stage.spec.rule
            )
    for demand in chunks:
        send_challenge(court, stranger, scene.contested(stage, 2), demand, rule=stage.spec.rule)
    computed: list[Any] = []
    looked_for: list[str | None] = []

    def commit_counted(*arguments: Any) -> Commitments:
        computed.append(arguments)
        return commit(*arguments)

    find = VectorIndex.find

    def found(self: VectorIndex, root: bytes, named: str | None = None) -> IntVector | None:
        looked_for.append(named)
        return find(self, root, named)

    monkeypatch.setattr(answering, "commit", commit_counted)
    monkeypatch.setattr(VectorIndex, "find", found)
    answerer = Answerer(court, scene.parties.auditor, stage.params, stage.store)
    notices = list(answerer.look(lambda: 0.0))
    assert kinds(notices) == [("answered", 2)] * 16 + [("answered", 3)] * 10
    assert len(computed) == 2
    # Six vectors a round, and two more for their chunks.
    assert len(looked_for) == 2 * 6 + 2
    assert None not in looked_for
