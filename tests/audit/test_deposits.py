"""Commitments to challenges, tallies and fees: what they cost, and to whom the money falls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.audit.test_auditor import auditor_of
from tests.calling import Call as Command
from tests.chain.staged import Theatre, theatre
from wardround.audit.challenge import SealedChallenge, send_challenge
from wardround.audit.collection import claim_fees, close_lapsed
from wardround.audit.notices import Powers
from wardround.chain.court_events import Committed, Proven
from wardround.chain.court_reader import Contested
from wardround.chain.errors import ContractReverted
from wardround.chain.events import Slashed
from wardround.protocol.evidence import Demand, TotalsEvidence, What
from wardround.protocol.identifiers import hex_of
from wardround.protocol.inspection import chunk_leaf
from wardround.protocol.record import Recording, RuleId
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater
from wardround_simulations.stage import (
    BOND,
    CHALLENGE_SECONDS,
    DEMAND_SECONDS,
    DEPOSIT,
    OBJECTION_SECONDS,
    Stage,
    specification,
)

REVEAL_SECONDS = 600
HALF = BOND // 2


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("deposits")) as opened:
        yield opened


def honest(scene: Theatre) -> tuple[Stage, Contested, TotalsEvidence]:
    stage = scene.stage()
    for _ in range(2):
        stage.close(scene.parties.first)
    return stage, scene.contested(stage, 2), scene.accused(stage, 2).totals()


def cheated(scene: Theatre) -> tuple[Stage, Contested, TotalsEvidence]:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheats.state_another_total(Cheater(stage, scene.parties.first))
    return stage, scene.contested(stage, 2), scene.accused(stage, 2).totals()


def committed(
    scene: Theatre, stage: Stage, contested: Contested, evidence: TotalsEvidence
) -> bytes:
    """The auditor commits to a challenge and does not reveal it yet."""
    court, auditor = scene.court, scene.parties.auditor
    data = court.challenge_data(contested, evidence)
    sealed = SealedChallenge.of(auditor, contested, data, 0)
    court.approve_deposit(auditor, stage.study)
    assert court.commit_challenge(auditor, contested, sealed.commitment) is not None
    assert court.commit_challenge(auditor, contested, sealed.commitment) is None
    return sealed.commitment


# ---------------------------------------------------------------- commit, reveal


def test_challenge_is_committed_to_and_then_revealed(scene: Theatre) -> None:
    stage, contested, evidence = cheated(scene)
    court, auditor = scene.court, scene.parties.auditor
    before = scene.token.balance_of(auditor.address)
    receipts = send_challenge(court, auditor, contested, evidence, rule=stage.spec.rule)
    names = [one.name for receipt in receipts for one in court.events_of(receipt)]
    assert names == ["Committed", "Revealed", "TotalsProven"]
    assert scene.ward.owed(stage.study, auditor.address) == DEPOSIT + HALF
    scene.ward.collect(auditor, stage.study, auditor.address)
    assert scene.token.balance_of(auditor.address) == before + HALF
    assert send_challenge(court, auditor, contested, evidence, rule=stage.spec.rule) == []


def test_challenge_that_proves_nothing_costs_no_deposit(scene: Theatre) -> None:
    stage, contested, evidence = honest(scene)
    court, auditor = scene.court, scene.parties.auditor
    before = scene.token.balance_of(auditor.address)
    with pytest.raises(ContractReverted) as caught:
        send_challenge(court, auditor, contested, evidence, rule=stage.spec.rule)
    assert caught.value.name == "Court_TotalsRight"
    assert scene.token.balance_of(auditor.address) == before


def test_challenge_in_the_open_by_who_has_no_tokens(scene: Theatre) -> None:
    stage, contested, evidence = cheated(scene)
    court, poor = scene.court, Account.create()
    scene.chain.transfer(scene.stranger, poor.address, 10**18)
    (receipt,) = send_challenge(court, poor, contested, evidence, rule=stage.spec.rule)
    (proven,) = court.events_of(receipt)
    assert isinstance(proven, Proven)
    assert scene.ward.owed(stage.study, poor.address) == HALF


def test_copy_of_a_committed_challenge_earns_nothing(scene: Theatre) -> None:
    stage, contested, evidence = cheated(scene)
    court, auditor, friend = scene.court, scene.parties.auditor, scene.stranger
    committed(scene, stage, contested, evidence)
    receipt = court.challenge(friend, contested, evidence)
    assert receipt is not None
    (slashed,) = [one for one in scene.ward.events_of(receipt) if isinstance(one, Slashed)]
    assert (slashed.challenger, slashed.reward, slashed.burnt) == (friend.address, 0, BOND)
    assert scene.ward.owed(stage.study, friend.address) == 0
    (settled,) = close_lapsed(court, auditor, stage.study, auditor.address)
    assert settled.amount == DEPOSIT


def test_commitment_is_found_again_after_a_restart(scene: Theatre) -> None:
    stage, contested, evidence = cheated(scene)
    court, auditor = scene.court, scene.parties.auditor
    committed(scene, stage, contested, evidence)
    receipts = send_challenge(court, auditor, contested, evidence, rule=stage.spec.rule)
    assert len(receipts) == 1
    assert scene.ward.owed(stage.study, auditor.address) == HALF + DEPOSIT


def test_challenge_in_the_open_by_who_cannot_pay_the_deposit(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, contested, evidence = cheated(scene)
    court, auditor = scene.court, scene.parties.auditor

    def refuse(*_: object) -> None:
        raise ContractReverted("commit to a challenge", "UnknownError", {}, "0x")

    monkeypatch.setattr(court, "commit_challenge", refuse)
    receipts = send_challenge(court, auditor, contested, evidence, rule=stage.spec.rule)
    (proven,) = court.events_of(receipts[-1])
    assert isinstance(proven, Proven)
    assert scene.ward.owed(stage.study, auditor.address) == HALF


def test_commitment_that_lapsed_is_made_again(scene: Theatre) -> None:
    stage, contested, evidence = cheated(scene)
    court, auditor = scene.court, scene.parties.auditor
    committed(scene, stage, contested, evidence)
    scene.chain.advance(REVEAL_SECONDS + 1)
    receipts = send_challenge(court, auditor, contested, evidence, rule=stage.spec.rule)
    made = [one for each in receipts for one in court.events_of(each)]
    assert isinstance(made[0], Committed)
    assert isinstance(made[-1], Proven)


def test_commitment_whose_round_another_overturned_comes_back(scene: Theatre) -> None:
    stage, contested, evidence = cheated(scene)
    court, auditor, other = scene.court, scene.parties.auditor, scene.stranger
    committed(scene, stage, contested, evidence)
    send_challenge(court, other, contested, evidence, rule=stage.spec.rule)
    assert scene.ward.owed(stage.study, other.address) == HALF + DEPOSIT
    study = stage.study
    assert list(close_lapsed(court, other, study, scene.parties.first.address)) == []
    (settled,) = close_lapsed(court, auditor, study, auditor.address)
    assert settled.amount == DEPOSIT
    assert scene.ward.owed(study, auditor.address) == DEPOSIT


def test_demand_of_a_round_that_another_proof_overturned_comes_back(
    scene: Theatre, call: Command
) -> None:
    stage, contested, evidence = cheated(scene)
    court, auditor, other, study = scene.court, scene.parties.auditor, scene.stranger, stage.study
    model = stage.store.get(scene.accused(stage, 2).manifest.model.cid)
    send_challenge(court, auditor, contested, Demand(What.MODEL, 0), rule=stage.spec.rule)
    assert list(close_lapsed(court, auditor, study, auditor.address)) == []
    where = ["--chain", scene.chain.url, "--contract", scene.ward.address]
    listed = ["court", "demands", hex_of(study), *where]
    assert "round 2: part 0 of its model" in call(*listed).good
    send_challenge(court, other, contested, evidence, rule=stage.spec.rule)
    # Nobody can answer it any more.
    assert call(*listed).good.strip() == "no demand is open that can be answered"
    demand = court.demand_id(contested, Demand(What.MODEL, 0))
    assert court.answer_demand(other, demand, contested.closing, chunk_leaf(model, 0)) is None
    assert list(close_lapsed(court, other, study, other.address)) == []
    (settled,) = close_lapsed(court, auditor, study, auditor.address)
    assert settled.amount == DEPOSIT
    assert scene.ward.owed(study, auditor.address) == DEPOSIT
    assert list(close_lapsed(court, auditor, study, auditor.address)) == []


def test_salt_is_the_signers_and_of_one_round(scene: Theatre) -> None:
    _, contested, _ = honest(scene)
    one, other = scene.parties.auditor, scene.stranger
    made = SealedChallenge.of(one, contested, b"data", 0)
    assert made == SealedChallenge.of(one, contested, b"data", 0)
    others = [
        SealedChallenge.of(other, contested, b"data", 0),
        SealedChallenge.of(one, contested, b"date", 0),
        SealedChallenge.of(one, contested, b"data", 1),
        SealedChallenge.of(one, replace(contested, round=3), b"data", 0),
    ]
    assert len({made.salt, *(each.salt for each in others)}) == 5


# ---------------------------------------------------------------- delay costs its author


def test_deposits_of_what_lapsed_fall_to_the_accused(scene: Theatre) -> None:
    stage, contested, evidence = honest(scene)
    court, auditor, first = scene.court, scene.parties.auditor, scene.parties.first
    committed(scene, stage, contested, evidence)
    court.approve_deposit(auditor, stage.study)
    assert court.open_tally(auditor, contested, None) is not None
    assert list(close_lapsed(court, first, stage.study, first.address)) == []
    scene.chain.advance(CHALLENGE_SECONDS)
    settled = list(close_lapsed(court, first, stage.study, first.address))
    assert [one.amount for one in settled] == [DEPOSIT, DEPOSIT]
    assert scene.ward.owed(stage.study, first.address) == 2 * DEPOSIT
    assert list(close_lapsed(court, first, stage.study, first.address)) == []


def test_tally_that_overturns_has_its_deposit_back(scene: Theatre) -> None:
    stage, contested, evidence = cheated(scene)
    court, auditor = scene.court, scene.parties.auditor
    send_challenge(court, auditor, contested, evidence, rule=stage.spec.rule, limit_bytes=2 * 157)
    assert scene.ward.owed(stage.study, auditor.address) == HALF + DEPOSIT


def withheld(scene: Theatre, stage: Stage, contested: Contested, demander: LocalAccount) -> bytes:
    """Demand a part of the model that is then not shown."""
    court, demand = scene.court, Demand(What.MODEL, 0)
    court.approve_deposit(demander, stage.study)
    assert court.demand_chunk(demander, contested, demand) is not None
    return court.demand_id(contested, demand)


def test_unanswered_demand_overturns_and_its_deposit_comes_back(scene: Theatre) -> None:
    stage, contested, evidence = honest(scene)
    court, auditor, other = scene.court, scene.parties.auditor, scene.stranger
    committed(scene, stage, contested, evidence)
    withheld(scene, stage, contested, other)
    assert list(close_lapsed(court, other, stage.study, other.address)) == []
    scene.chain.advance(DEMAND_SECONDS + 1)
    # Nothing of it is the auditor's, whose commitment lapsed to the coordinator.
    assert list(close_lapsed(court, auditor, stage.study, auditor.address)) == []
    (settled,) = close_lapsed(court, auditor, stage.study, other.address)
    assert settled.amount == DEPOSIT
    assert "of round 2, which is overturned" in settled.what
    assert scene.ward.owed(stage.study, other.address) == DEPOSIT + HALF
    # The round is open again, so the commitment's deposit comes back too.
    (settled,) = close_lapsed(court, auditor, stage.study, auditor.address)
    assert settled.what == f"as the deposit of a challenge by {auditor.address}"
    assert list(close_lapsed(court, other, stage.study, other.address)) == []


def test_deposit_of_a_demand_about_a_final_round_comes_back_alone(scene: Theatre) -> None:
    stage, contested, _ = honest(scene)
    court, other = scene.court, scene.stranger
    withheld(scene, stage, contested, other)
    scene.chain.advance(DEMAND_SECONDS + 2 * CHALLENGE_SECONDS)
    (settled,) = close_lapsed(court, other, stage.study, other.address)
    assert settled.what == "as the deposit of a demand of round 2"
    assert court.stands(contested)
    assert scene.ward.owed(stage.study, other.address) == DEPOSIT


# ---------------------------------------------------------------- fees


def test_fees_of_final_rounds_are_paid_once(scene: Theatre) -> None:
    spec = specification("fees", Recording.ROOT, RuleId.MEAN, 3, 1)
    fees = {"closing_fee": "7", "attesting_fee": "11"}
    spec = spec.model_copy(update={"chain": spec.chain.model_copy(update=fees)})
    parties, ward = scene.parties, scene.ward
    stage = Stage(ward, scene.token, parties, spec, scene.folder / "fees")
    assert ward.study(stage.study).funded == spec.budget
    closing = stage.close(parties.first).closing
    assert list(claim_fees(ward, parties.first, stage.study, parties.first.address)) == []
    scene.chain.advance(OBJECTION_SECONDS)
    auditor = parties.auditor
    (*_, attested) = auditor_of(scene, stage, Powers(auditor)).step()
    assert attested.kind == "attested"
    assert ward.owed(stage.study, auditor.address) == 11
    before = scene.token.balance_of(parties.first.address)
    (settled,) = claim_fees(ward, parties.first, stage.study, parties.first.address)
    assert settled.amount == 7
    assert scene.token.balance_of(parties.first.address) == before + 7
    assert ward.claim_fee(parties.first, stage.study, 1, closing) is None
    assert list(claim_fees(ward, parties.first, stage.study, parties.first.address)) == []
