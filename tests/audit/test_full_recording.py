"""Entries under full recording that no reader finds in a transaction: demanded, and answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from tests.audit.test_auditor import auditor_of, challenger, kinds
from tests.chain.staged import Theatre, theatre
from wardround.audit.answering import Answerer
from wardround.chain.contract import Call
from wardround.chain.court_reader import DemandStatus
from wardround.protocol.cid import cid_of
from wardround.protocol.evidence import Demand, What
from wardround.protocol.record import Recording, RuleId
from wardround_simulations.cheats import SHIFTED, Cheater
from wardround_simulations.stage import DEMAND_SECONDS, Stage, specification

#: Passes calldata behind the first word on to the address in it, and the revert back.
FORWARDER = bytes.fromhex(
    "602036038060206000376000600082600060006000355af13d600060003e6024573d6000fd5b3d6000f3"
)


@dataclass(frozen=True)
class Puppet:
    """A contract that a coordinator acts through."""

    address: str
    owner: LocalAccount


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("recording"), studies=4) as opened:
        yield opened


def puppet_of(scene: Theatre, monkeypatch: pytest.MonkeyPatch) -> Puppet:
    run = bytearray(FORWARDER)
    run[run.index(b"\x60\x24\x57") + 1] = run.index(b"\x5b", 30)
    code = b"\x60" + bytes([len(run)]) + bytes.fromhex("80600b6000396000f3") + bytes(run)
    chain, owner = scene.chain, scene.parties.first
    receipt = chain.send(owner, Call(None, code, "constructor"), "deploy")
    assert receipt is not None
    puppet = Puppet(str(receipt.contract_address), owner)
    send = chain.send

    def routed(signer: Any, call: Call, *arguments: Any, **named: Any) -> Any:
        if isinstance(signer, Puppet):
            data = bytes(12) + bytes.fromhex(str(call.to)[2:]) + call.data
            signer, call = signer.owner, Call(signer.address, data, call.name)
        return send(signer, call, *arguments, **named)

    monkeypatch.setattr(chain, "send", routed)
    return puppet


def test_entries_that_a_contract_sent_are_demanded_and_answered_with_the_manifest(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet = puppet_of(scene, monkeypatch)
    parties = replace(scene.parties, first=puppet)  # type: ignore[arg-type]
    spec = specification("puppet", Recording.FULL, RuleId.MEAN, rounds=3, quorum=0)
    stage = Stage(scene.ward, scene.token, parties, spec, scene.folder / "puppet")
    stage.close(puppet)  # type: ignore[arg-type]
    cheater = Cheater(stage, puppet)  # type: ignore[arg-type]
    values = cheater.draft().model.values.copy()
    values[SHIFTED] += 1
    draft = cheater.draft().with_model(values)
    manifest = draft.manifest.encode()
    cheater.close(draft, cid_of(manifest))
    assert scene.ward.closed(stage.study, 2).entries is None
    auditor = auditor_of(scene, stage, challenger(scene))
    assert ("demanded", 2) in kinds(auditor.step())
    stage.store.put(manifest)
    answerer = Answerer(scene.court, scene.parties.standby, stage.params, stage.store)
    notices = list(answerer.look(lambda: float(scene.chain.timestamp())))
    assert {one.kind for one in notices} == {"answered"}
    scene.chain.advance(DEMAND_SECONDS + 1)
    assert ("challenged", 2) in kinds(auditor.step())
    assert scene.ward.seat(stage.study, puppet.address).barred


def test_entries_of_ones_own_transaction_answer_a_demand(scene: Theatre) -> None:
    stage = scene.stage(Recording.FULL)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    cheater.close(cheater.draft(), cid_of(cheater.draft().manifest.encode()))
    contested, demand = scene.contested(stage, 2), Demand(What.ENTRY, 0)
    scene.court.approve_deposit(scene.stranger, stage.study)
    scene.court.demand_chunk(scene.stranger, contested, demand)
    answerer = Answerer(scene.court, scene.parties.standby, stage.params, stage.store)
    list(answerer.look(lambda: float(scene.chain.timestamp())))
    found = scene.court.demand_of(scene.court.demand_id(contested, demand))
    assert found.status is DemandStatus.ANSWERED
