"""An auditor that has the chain and the store alone: what it detects, reports and sends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.chain.staged import Theatre, theatre
from wardround.audit import auditor as auditor_module
from wardround.audit.auditor import Auditor
from wardround.audit.challenge import send_challenge
from wardround.audit.notices import Notice, Powers, unproven_words
from wardround.audit.signatures import SignatureFolder
from wardround.chain.court import Court
from wardround.chain.court_reader import DemandStatus
from wardround.chain.errors import ChainUnreachable, ContractReverted
from wardround.chain.events import RoundClosed
from wardround.chain.ward_round import WardRound
from wardround.protocol.attestation import Attestation
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.contribution import Domain
from wardround.protocol.errors import SignatureInvalid
from wardround.protocol.evidence import Demand, What
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.identifiers import StudyId
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Recording, RuleId
from wardround.protocol.whole_evidence import RANKED_SITES
from wardround.store import FolderStore
from wardround.store.errors import ObjectMissing
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater
from wardround_simulations.stage import CHALLENGE_SECONDS, DEMAND_SECONDS, OBJECTION_SECONDS, Stage


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("auditor")) as opened:
        yield opened


def auditor_of(scene: Theatre, stage: Stage, powers: Powers | None = None) -> Auditor:
    return Auditor(scene.ward, stage.study, stage.store, powers, now=lambda: 0.0)


def kinds(notices: list[Notice]) -> list[tuple[str, int]]:
    return [(notice.kind, notice.round) for notice in notices]


def challenger(scene: Theatre) -> Powers:
    return Powers(scene.parties.auditor, challenge=True)


# ---------------------------------------------------------------- what holds


def test_auditor_without_a_key_says_what_holds_and_sends_nothing(scene: Theatre) -> None:
    stage = scene.stage(rounds=2)
    auditor = auditor_of(scene, stage)
    assert auditor.step() == []
    stage.close(scene.parties.first)
    block = scene.chain.block().number
    assert kinds(auditor.step()) == [("holds", 1)]
    assert auditor.step() == []
    assert not auditor.is_over()
    stage.close(scene.parties.first)
    assert kinds(auditor.step()) == [("holds", 2)]
    assert scene.chain.block().number > block
    assert not auditor.is_over()  # no auditor attests, so the window decides
    scene.chain.advance(CHALLENGE_SECONDS + 1)
    assert auditor.is_over()
    assert auditor.breaches == []


def test_round_of_more_sites_than_can_be_ranked_is_named(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = scene.stage(rounds=1)
    stage.close(scene.parties.first)
    assert unproven_words(RuleId.MULTI_KRUM, RANKED_SITES) is None
    assert unproven_words(RuleId.MEDIAN, RANKED_SITES + 1) is None
    assert "236 sites" in str(unproven_words(RuleId.MULTI_KRUM, RANKED_SITES + 1))
    assert "at most 1,400" in str(unproven_words(RuleId.CLIPPED_MEAN, 1_401))
    monkeypatch.setattr("wardround.audit.auditor.unproven_words", lambda rule, sites: "too many")
    auditor = auditor_of(scene, stage)
    assert kinds(auditor.step()) == [("unproven", 1), ("holds", 1)]
    assert auditor.step() == []


def test_watch_ends_when_the_study_is_final(scene: Theatre) -> None:
    stage = scene.stage(rounds=2, quorum=1)
    auditor = auditor_of(scene, stage, Powers(scene.parties.auditor))
    heard: list[Notice] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        stage.close(scene.parties.first)
        scene.chain.advance(OBJECTION_SECONDS)

    auditor.watch(heard.append, sleep)
    assert len(slept) == 2
    assert kinds(heard) == [("holds", 1), ("attested", 1), ("holds", 2), ("attested", 2)]
    assert scene.ward.study(stage.study).final_through == 2


def test_one_attestation_speaks_for_all_rounds_before(scene: Theatre) -> None:
    stage = scene.stage(rounds=3, quorum=1)
    for _ in range(3):
        stage.close(scene.parties.first)
    auditor = auditor_of(scene, stage, Powers(scene.parties.auditor))
    assert kinds(auditor.step()) == [("holds", 1), ("holds", 2), ("holds", 3)]
    # The contract takes no attestation while any account may still object.
    scene.chain.advance(OBJECTION_SECONDS)
    assert kinds(auditor.step()) == [("attested", 3)]


def test_stranger_does_not_attest(scene: Theatre) -> None:
    stage = scene.stage(rounds=1, quorum=1)
    stage.close(scene.parties.first)
    scene.chain.advance(OBJECTION_SECONDS)
    auditor = auditor_of(scene, stage, Powers(scene.stranger))
    assert kinds(auditor.step()) == [("holds", 1)]


def test_study_that_ends_without_rounds_is_over(scene: Theatre) -> None:
    stage = scene.stage(rounds=1)
    scene.chain.advance(10**6)
    scene.ward.end_study(scene.parties.sponsor, stage.study)
    assert auditor_of(scene, stage).is_over()


def test_watch_outlasts_a_chain_that_is_away(scene: Theatre) -> None:
    stage = scene.stage(rounds=1, quorum=1)
    stage.close(scene.parties.first)
    scene.chain.advance(OBJECTION_SECONDS)
    auditor = auditor_of(scene, stage, Powers(scene.parties.auditor))
    heard: list[Notice] = []
    asked = scene.ward.events
    away = iter([ChainUnreachable("http://nowhere", "gone")])

    def events(*arguments: object) -> object:
        for error in away:
            raise error
        return asked(*arguments)  # type: ignore[arg-type]

    scene.ward.events = events  # type: ignore[assignment,method-assign]
    try:
        auditor.watch(heard.append, sleep=lambda seconds: None)
    finally:
        del scene.ward.events  # type: ignore[method-assign]
    assert kinds(heard) == [("waiting", 0), ("holds", 1), ("attested", 1)]


def test_round_that_is_closed_anew_meanwhile_is_read_again(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheats.shift_a_coordinate(Cheater(stage, scene.parties.first))
    auditor = auditor_of(scene, stage)
    real = scene.ward.closed_round
    accused, contested = scene.accused(stage, 2), scene.contested(stage, 2)

    def closed_round(study: StudyId, event: RoundClosed) -> object:
        if event.round == 2 and scene.court.stands(contested):
            receipt = scene.court.challenge(scene.parties.auditor, contested, accused.coordinate())
            assert receipt is not None
        return real(study, event)

    scene.ward.closed_round = closed_round  # type: ignore[assignment,method-assign]
    try:
        assert kinds(auditor.step()) == [("holds", 1)]
        stage.close(scene.parties.standby)
        assert kinds(auditor.step()) == [("overturned", 2), ("holds", 2)]
        assert auditor.step() == []
    finally:
        del scene.ward.closed_round  # type: ignore[method-assign]


# ---------------------------------------------------------------- a quorum


STATEMENT = Attestation(StudyId(b"\x05" * 32), 4, b"\x06" * 32)
DOMAIN = Domain(31337, "0x" + "Cd" * 20)


def is_signed(auditor: str, signature: bytes) -> bool:
    try:
        return STATEMENT.signer(DOMAIN, signature) == auditor
    except SignatureInvalid:
        return False


def test_signatures_are_exchanged_through_a_folder(tmp_path: Path) -> None:
    folder, other = SignatureFolder(tmp_path / "shared"), replace(STATEMENT, round=5)
    assert list(folder.found(STATEMENT, is_signed)) == []
    signers: dict[str, bytes] = {}
    for account in (Account.create(), Account.create()):
        signature = STATEMENT.sign(DOMAIN, bytes(account.key))
        folder.leave(STATEMENT, account.address, signature)
        folder.leave(STATEMENT, account.address, signature)
        signers[account.address] = signature
    assert dict(folder.found(STATEMENT, is_signed)) == signers
    assert list(folder.found(other, is_signed)) == []


def test_what_proves_nothing_is_no_signature(tmp_path: Path) -> None:
    folder, account = SignatureFolder(tmp_path), Account.create()
    folder.leave(STATEMENT, account.address, STATEMENT.sign(DOMAIN, bytes(account.key)))
    (place,) = tmp_path.glob("*/*")
    for number, text in enumerate(["", "0x12", "zz" * 65, "0x" + "00" * 65, "f" * 10**6, "ü"]):
        (place / f"{number}.txt").write_text(text, encoding="utf-8")
        (place / f"0x{number:040x}.txt").write_text(text, encoding="utf-8")
    assert [signer for signer, _ in folder.found(STATEMENT, is_signed)] == [account.address]


def test_quorum_of_two_is_collected_and_sent_once(scene: Theatre, tmp_path: Path) -> None:
    second = scene.stranger
    stage = scene.stage(rounds=1, quorum=2, auditors=[second])
    stage.close(scene.parties.first)
    scene.chain.advance(OBJECTION_SECONDS)
    folder = SignatureFolder(tmp_path)
    # The signature of an account that is no auditor does not count.
    closing = scene.ward.closed_rounds(stage.study)[0].closing
    statement = Attestation(stage.study, 1, closing.commitment)
    other: LocalAccount = Account.create()
    folder.leave(statement, other.address, statement.sign(scene.ward.domain, bytes(other.key)))
    one = auditor_of(scene, stage, Powers(scene.parties.auditor, signatures=folder))
    assert kinds(one.step()) == [("holds", 1)]
    two = auditor_of(scene, stage, Powers(second, signatures=folder))
    assert kinds(two.step()) == [("holds", 1), ("attested", 1)]
    assert one.step() == []
    assert scene.ward.is_final(stage.study, 1, closing)


def test_payment_or_answer_that_is_refused_ends_no_watch(
    scene: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token refuses to pay, and a demand was about a round that is overturned meanwhile."""

    def refused(*arguments: object) -> None:
        raise ContractReverted("pay", "Refused", {}, "0x")

    stage = scene.stage()
    stage.close(scene.parties.first)
    cheats.state_another_total(Cheater(stage, scene.parties.first))
    contested = scene.contested(stage, 2)
    demand = Demand(What.MODEL, 0)
    send_challenge(scene.court, scene.stranger, contested, demand, rule=stage.spec.rule)
    powers = Powers(scene.parties.auditor, challenge=True, answer=True)
    monkeypatch.setattr(WardRound, "collect", refused)
    monkeypatch.setattr(Court, "_send_part", refused)
    told = auditor_of(scene, stage, replace(powers, challenge=False)).step()
    assert kinds(told) == [("holds", 1), ("breach", 2), ("refused", 2)]
    told = auditor_of(scene, stage, powers).step()
    assert ("challenged", 2) in kinds(told)
    assert ("refused", 2) in kinds(told)


def test_nothing_is_attested_alone_where_two_are_needed(scene: Theatre) -> None:
    stage = scene.stage(rounds=1, quorum=2, auditors=[scene.stranger])
    stage.close(scene.parties.first)
    scene.chain.advance(OBJECTION_SECONDS)
    auditor = auditor_of(scene, stage, Powers(scene.parties.auditor))
    assert kinds(auditor.step()) == [("holds", 1)]


# ---------------------------------------------------------------- what does not hold


def test_breach_is_said_once_and_challenged_only_when_asked(scene: Theatre) -> None:
    stage = scene.stage(quorum=1)
    stage.close(scene.parties.first)
    scene.chain.advance(OBJECTION_SECONDS)
    cheats.shift_a_coordinate(Cheater(stage, scene.parties.first))
    looker = auditor_of(scene, stage, Powers(scene.parties.auditor))
    notices = looker.step()
    # Round 1 holds and is attested; round 2 never is.
    assert kinds(notices) == [("holds", 1), ("breach", 2), ("attested", 1)]
    assert notices[1].challenge == "challengeCoordinate"
    assert "coordinate 300" in notices[1].words
    assert looker.step() == []
    assert [breach.round for breach in looker.breaches] == [2]
    sender = auditor_of(scene, stage, challenger(scene))
    notices = sender.step()
    assert kinds(notices) == [("holds", 1), ("breach", 2), ("challenged", 2)]
    assert notices[2].gas is not None
    assert 100_000 < notices[2].gas < 1_000_000
    for auditor in (looker, sender):
        assert kinds(auditor.step()) == [("overturned", 2)]
        assert auditor.breaches == []
    stage.close(scene.parties.standby)
    scene.chain.advance(OBJECTION_SECONDS)
    assert kinds(sender.step()) == [("holds", 2), ("attested", 2)]


def test_rounds_built_on_a_wrong_one_are_looked_at_too(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheats.shift_a_coordinate(Cheater(stage, scene.parties.first))
    stage.close(scene.parties.first)
    auditor = auditor_of(scene, stage)
    assert kinds(auditor.step()) == [("holds", 1), ("breach", 2), ("holds", 3)]
    # The proof of the wrong round takes the one behind it along.
    auditor = auditor_of(scene, stage, challenger(scene))
    assert kinds(auditor.step())[:3] == [("holds", 1), ("breach", 2), ("challenged", 2)]
    auditor.step()
    assert scene.ward.study(stage.study).head == 2
    assert auditor.breaches == []


def test_breach_that_nobody_can_prove_is_said_and_not_attested(scene: Theatre) -> None:
    def hide(cheater: Cheater) -> None:
        draft = cheater.draft()
        manifest = draft.manifest.model_copy(update={"scale_bits": 7})
        cheater.close(replace(draft, manifest=manifest))

    stage = scene.stage(quorum=1)
    stage.close(scene.parties.first)
    scene.chain.advance(OBJECTION_SECONDS)
    hide(Cheater(stage, scene.parties.first))
    auditor = auditor_of(scene, stage, challenger(scene))
    notices = auditor.step()
    assert kinds(notices) == [("holds", 1), ("breach", 2), ("attested", 1)]
    assert "no challenge proves it" in notices[1].words
    assert notices[1].challenge is None
    stage.close(scene.parties.first)
    # The next round follows from what is recorded; no attestation speaks for the one before.
    assert kinds(auditor.step()) == [("holds", 3)]


def test_refused_challenge_is_said_once(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheats.shift_a_coordinate(Cheater(stage, scene.parties.first))
    scene.chain.advance(CHALLENGE_SECONDS + 1)
    # An auditor that comes too late.
    auditor = auditor_of(scene, stage, challenger(scene))
    notices = auditor.step()
    assert kinds(notices) == [("holds", 1), ("breach", 2), ("refused", 2)]
    assert "Court_NotChallengeable" in notices[2].words
    assert auditor.step() == []


def test_challenge_without_money_is_said_and_watching_goes_on(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheats.shift_a_coordinate(Cheater(stage, scene.parties.first))
    poor = auditor_of(scene, stage, Powers(Account.create(), challenge=True))
    notices = poor.step()
    assert kinds(notices) == [("holds", 1), ("breach", 2), ("refused", 2)]
    assert "holds 0 wei" in notices[2].words
    assert poor.step() == []


def test_what_is_not_shown_is_demanded_and_then_judged(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    cheats.withhold_an_update(cheater)
    auditor = auditor_of(scene, stage, challenger(scene))
    assert kinds(auditor.step()) == [("holds", 1), ("breach", 2), ("demanded", 2)]
    assert auditor.step() == []  # the deadline has not passed
    # The data appears after all: the round holds, and the demand stays unanswered on chain.
    stage.store.put(vector_bytes(cheater.rows[1].update))
    assert kinds(auditor.step()) == [("holds", 2)]
    assert scene.ward.study(stage.study).head == 3


def test_round_whose_update_was_shown_on_chain_alone_is_right_but_for_its_store(
    scene: Theatre, tmp_path: Path
) -> None:
    stage = scene.stage(Recording.FULL)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    cheats.withhold_an_update(cheater)
    auditor = auditor_of(scene, stage, challenger(scene))
    auditor.step()
    # A full copy of the store answers each demand.
    whole = FolderStore(tmp_path)
    for cid in stage.store.cids():
        whole.put(stage.store.get(cid))
    whole.put(vector_bytes(cheater.rows[1].update))
    powers = Powers(scene.stranger, answer=True)
    helper = Auditor(scene.ward, stage.study, whole, powers, now=lambda: 0.0)
    # All chunks are demanded at once.
    assert kinds(helper.step()) == [("holds", 1), ("holds", 2), *3 * [("answered", 2)]]
    # All three chunks are on chain now, and the round is right but for its store.
    (breach,) = auditor.step()
    assert breach.kind == "breach"
    assert "no challenge proves it" in breach.words


def test_demands_of_others_are_answered_from_the_store(scene: Theatre) -> None:
    stage = scene.stage()
    for _ in range(2):
        stage.close(scene.parties.first)
    accused, contested = scene.accused(stage, 2), scene.contested(stage, 2)
    court, asker = scene.court, scene.parties.standby
    entry = accused.entry().entry
    demands = [
        Demand(What.MODEL, 2),
        Demand(What.UPDATE, 0, entry),
        Demand(What.ENTRY, 3),
        Demand(What.BASE, 1),
    ]
    for demand in demands:
        send_challenge(court, asker, contested, demand, rule=stage.spec.rule)
    helper = auditor_of(scene, stage, Powers(scene.parties.auditor, answer=True))
    notices = helper.step()
    assert kinds(notices)[2:] == [("answered", 2)] * 4
    states = [court.demand_of(court.demand_id(contested, demand)) for demand in demands]
    assert [state.status for state in states] == [DemandStatus.ANSWERED] * 4
    assert helper.step() == []


def test_demand_that_is_too_old_is_left_alone(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    stage.close(scene.parties.first)
    contested = scene.contested(stage, 2)
    send_challenge(
        scene.court,
        scene.parties.standby,
        contested,
        Demand(What.MODEL, 0),
        rule=stage.spec.rule,
    )
    scene.chain.advance(DEMAND_SECONDS + 1)
    helper = auditor_of(scene, stage, Powers(scene.parties.auditor, answer=True))
    assert kinds(helper.step()) == [("holds", 1), ("holds", 2)]


def test_wrong_total_is_challenged_in_the_first_round_too(scene: Theatre) -> None:
    stage = scene.stage()
    cheats.state_another_total(Cheater(stage, scene.parties.first))
    (breach, challenged) = auditor_of(scene, stage, challenger(scene)).step()
    assert (breach.kind, breach.round, challenged.kind) == ("breach", 1, "challenged")
    assert breach.challenge == "challengeTotals"


def without_first_model(stage: Stage, folder: Path) -> FolderStore:
    """A copy of its store that lacks the model with which the study began."""
    copy, params = FolderStore(folder), stage.params
    for cid in stage.store.cids():
        data = stage.store.map(cid)
        if len(data) != params.vector_size or vector_root(data) != params.initial_model:
            copy.put(data)
    assert len(list(copy.cids())) == len(list(stage.store.cids())) - 1
    return copy


def test_first_model_that_the_store_lacks_is_built(scene: Theatre, tmp_path: Path) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    store = without_first_model(stage, tmp_path)
    auditor = Auditor(scene.ward, stage.study, store, now=lambda: 0.0)
    assert kinds(auditor.step()) == [("holds", 1)]


def test_first_model_that_is_not_to_be_had_is_named_and_demanded(
    scene: Theatre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study's own model is not built: its code is run on request alone."""
    monkeypatch.setattr(auditor_module, "declared_first_model", lambda *_: None)
    stage = scene.stage()
    for _ in range(2):
        stage.close(scene.parties.first)
    store = without_first_model(stage, tmp_path)
    looking = Auditor(scene.ward, stage.study, store, now=lambda: 0.0)
    (breach, holds) = looking.step()
    assert breach.words.startswith("the first model is not to be had")
    assert kinds([breach, holds]) == [("breach", 1), ("holds", 2)]
    auditor = Auditor(scene.ward, stage.study, store, challenger(scene), now=lambda: 0.0)
    assert kinds(auditor.step()) == [("breach", 1), ("demanded", 1), ("holds", 2)]
    assert auditor.step() == []
    chunks = -(-stage.params.vector_size // 1024)
    helper = auditor_of(scene, stage, Powers(scene.parties.first, answer=True))
    assert kinds(helper.step())[2:] == [("answered", 1)] * chunks
    assert kinds(auditor.step()) == [("holds", 1)]
    assert auditor.breaches == []


def test_auditor_needs_the_specification(scene: Theatre) -> None:
    stage = scene.stage()
    (stage.store.folder / str(cid_from_sha256(stage.params.specification))).unlink()
    with pytest.raises(ObjectMissing):
        auditor_of(scene, stage)
