"""Demands and answers in few transactions, since each waits for a block and its confirmations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from tests.chain.staged import Theatre, theatre
from wardround.audit.answering import Answerer
from wardround.audit.challenge import send_demands
from wardround.chain import court as court_module
from wardround.chain.blocks import Receipt
from wardround.chain.court_reader import Contested, DemandStatus
from wardround.chain.errors import ContractReverted
from wardround.protocol.evidence import Demand, What
from wardround.protocol.inspection import entry_leaf
from wardround_simulations.stage import Stage


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("batches"), studies=4) as opened:
        yield opened


def demanded(scene: Theatre) -> tuple[Stage, Contested, list[Demand], int]:
    """Demand each chunk of the second round's updates; count the transactions."""
    stage = scene.stage()
    stage.close(scene.parties.first)
    outcome = stage.close(scene.parties.first)
    raw = [row.entry().pack() for row in outcome.settlement.manifest.contributions]
    contested = scene.contested(stage, 2)
    chunks = range(-(-stage.params.vector_size // 1024))
    demands = [
        Demand(What.UPDATE, chunk, entry_leaf(raw, place))
        for place in range(len(raw))
        for chunk in chunks
    ]
    sent = list(send_demands(scene.court, scene.stranger, contested, demands))
    return stage, contested, demands, len(sent)


def statuses(scene: Theatre, contested: Contested, demands: list[Demand]) -> set[DemandStatus]:
    court = scene.court
    return {court.demand_of(court.demand_id(contested, one)).status for one in demands}


def test_demands_and_their_answers_take_few_transactions(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, contested, demands, sent = demanded(scene)
    assert len(demands) >= 6
    assert sent == 2  # with the approval of the deposits
    assert statuses(scene, contested, demands) == {DemandStatus.OPEN}
    monkeypatch.setattr(court_module, "_BATCH_GAS", 700_000)
    answerer = Answerer(scene.court, scene.parties.standby, stage.params, stage.store)
    before = scene.chain.block().number
    notices = list(answerer.look(lambda: float(scene.chain.timestamp())))
    assert [one.kind for one in notices] == ["answered"] * len(demands)
    assert scene.chain.block().number - before == -(-len(demands) // 3)
    assert statuses(scene, contested, demands) == {DemandStatus.ANSWERED}


def test_one_call_that_is_refused_keeps_no_other_out(scene: Theatre) -> None:
    stage, contested, demands, _ = demanded(scene)
    court, answers = scene.court, []
    answerer = Answerer(court, scene.parties.standby, stage.params, stage.store)
    shown = answerer._closings()[contested.closing.commitment]
    for one in demands:
        leaf = shown.leaf(court.demand_of(court.demand_id(contested, one)))
        assert leaf is not None
        if one is demands[1]:
            leaf = replace(leaf, data=bytes(len(leaf.data)))
        answers.append(court.answering(court.demand_id(contested, one), contested.closing, leaf))
    found = list(court.send_together(scene.parties.standby, answers))
    wrong = [sent for sent in found if sent.error is not None]
    assert [sent.parts for sent in wrong] == [[answers[1]]]
    assert isinstance(wrong[0].error, ContractReverted)
    assert sum(len(sent.parts) for sent in found) == len(answers)
    assert statuses(scene, contested, demands[1:2]) == {DemandStatus.OPEN}
    assert statuses(scene, contested, [demands[0], *demands[2:]]) == {DemandStatus.ANSWERED}
    # What is done already is not sent once more.
    again = list(court.send_together(scene.parties.standby, answers))
    assert [sent.parts for sent in again] == [[answers[1]]]


def test_answers_that_another_gives_first_hold_the_others_up_once(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mined behind our look at the demands, they have our transaction refused as a whole."""
    stage, contested, demands, _ = demanded(scene)
    court, own, sent = scene.court, scene.parties.standby, list[int]()
    answerer = Answerer(court, own, stage.params, stage.store)
    shown = answerer._closings()[contested.closing.commitment]
    send = scene.chain.send

    def overtaken(signer: LocalAccount, *arguments: Any) -> Receipt | None:
        if signer.address == own.address:
            sent.append(len(sent))
        if signer.address == own.address and len(sent) == 1:
            for one in (demands[0], demands[2]):
                name = court.demand_id(contested, one)
                leaf = shown.leaf(court.demand_of(name))
                assert leaf is not None
                assert court.answer_demand(scene.stranger, name, contested.closing, leaf)
        return send(signer, *arguments)

    monkeypatch.setattr(scene.chain, "send", overtaken)
    notices = list(answerer.look(lambda: 0.0))
    assert statuses(scene, contested, demands) == {DemandStatus.ANSWERED}
    assert [one.kind for one in notices] == ["answered"] * (len(demands) - 2)
    assert len(sent) == 2
