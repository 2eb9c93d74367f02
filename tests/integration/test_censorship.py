"""A coordinator leaves one hospital out, and the hospital's own commands end it, on record."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from eth_account import Account

from tests.test_entry_points import Scene, scene, site_home, world
from wardround.audit.audit import StudyAudit
from wardround.chain.court import Court
from wardround.chain.errors import ChainUnreachable, TransactionRefused
from wardround.chain.events import Overturned
from wardround.chain.ward_round import WardRound
from wardround.host.screen import utc
from wardround.protocol.errors import StudyMismatch
from wardround.protocol.identifiers import hex_of
from wardround.protocol.manifest import Dropped
from wardround.protocol.messages import TrainTask
from wardround_client import chain_commands
from wardround_client.guard.answers import KeptAnswers
from wardround_coordinator.session import Session
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater
from wardround_simulations.stage import _reply

__all__ = ["scene", "world"]
SILENT = "it does not take the reply"


def test_censored_hospital_registers_challenges_and_is_in_the_next_closing(scene: Scene) -> None:
    stage, world, study = scene.stage, scene.world, hex_of(scene.stage.study)
    ward, chain = stage.contract, stage.chain
    first = stage.close(stage.parties.first)
    censor = Cheater(stage, stage.parties.first)
    left_out = censor.rows[1].entry.site
    hospital = next(one for one in stage.hospitals if one.account.address == left_out)
    position = censor.position
    delivery, update = stage.collect(position)[left_out]
    home = site_home(scene, bytes(hospital.account.key))
    task = TrainTask(stage.params, position.previous, 2, b"")
    KeptAnswers(home.answers).keep(task, delivery, update)

    # An account without tokens cannot register for the site; the error names what it needs.
    poor = Account.create()
    (scene.folder / "poor.key").write_text(poor.key.hex(), "utf-8")
    (scene.folder / "poor.key").chmod(0o600)
    own = [study, "hospital", "--key"]
    said = world.run("site contribute", *own, "poor.key", status=1)
    assert f"{poor.address} holds 0 tokens and needs 5" in said
    said = world.run("site contribute", *own, "sponsor.key")
    assert f"{left_out} has registered its contribution to round 2: deposit 5 tokens, " in said
    cut_off = ward.open_round(stage.study).opened_at + stage.params.registration_seconds
    assert f"cut-off {utc(cut_off)}" in said

    # The censor waits for the cut-off, and closes without the site.
    chain.advance(stage.params.registration_seconds)
    cheats.drop_a_site(censor)
    # It answers for the next round too, before the challenge opens this one again.
    later = stage.session(stage.parties.first).position()
    task = TrainTask(stage.params, later.previous, 3, b"")
    KeptAnswers(home.answers).keep(task, *stage.collect(later)[left_out])
    challenge = [study, *scene.on("whole", "sponsor")]
    assert "left out" in world.run("court challenge", *challenge, status=1)
    (overturned,) = [one for one in ward.events(stage.study) if isinstance(one, Overturned)]
    assert (overturned.round, overturned.coordinator) == (2, stage.parties.first.address)
    assert ward.seat(stage.study, stage.parties.first.address).barred

    # The standby has no reply of the site either; it demands the update, and the site shows it.
    where = [study, "--chain", chain.url, "--contract", ward.address]

    def wait(seconds: float) -> None:
        listed.append(world.run("court demands", *where))
        said.append(world.run("site answer", *own, "sponsor.key"))
        chain.advance(max(1, int(seconds)))

    said, listed = list[str](), list[str]()
    standby = Session(
        ward,
        stage.parties.standby,
        stage.store,
        stage.facts,
        clock=lambda: float(chain.timestamp()),
        wait=wait,
    )
    sent = stage.collect(position)
    asked = {node: site.address for node, site in enumerate(stage.sites)}
    silent = Dropped(site=left_out.lower(), reason="no_reply", evidence=SILENT)
    answers = [
        (node, silent if address == left_out else _reply(*sent[address]))
        for node, address in asked.items()
    ]
    closed = standby.run_round(position, asked, answers)
    assert first.closing == position.previous
    assert delivery.entry in closed.state.entries
    assert closed.settlement.manifest.dropped == []
    assert any("showed chunks 0 to 0" in one for one in said)
    asked_for = f"chunks 0 to 0 of the update that {left_out} registered, until "
    assert any(asked_for in one for one in listed)
    assert "no demand is open" in world.run("court demands", *where)
    rounds = StudyAudit(ward, stage.study, stage.store).rounds()
    assert [one.closed.round for one in rounds] == [1, 2]

    # Once the round is final, its deposit is back with who sent it.
    assert "signed nothing for round 3" in world.run("site answer", *own, "sponsor.key", status=1)
    chain.advance(stage.params.challenge_seconds)
    assert "deposit of round 2 goes back" in world.run("site answer", *own, "sponsor.key")
    assert ward.owed(stage.study, stage.parties.sponsor.address) >= stage.params.deposit


def test_answering_site_goes_on_through_rounds_until_the_last_is_final(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, ward = scene.stage, scene.stage.contract
    first, sponsor = stage.parties.first, stage.parties.sponsor
    hospital = stage.hospitals[0]
    site, key = stage.sites[0].address, bytes(hospital.account.key)
    home = site_home(scene, key)
    read = WardRound.study

    def away(*_: object) -> None:
        raise ChainUnreachable("http://chain", "it is started again")

    elsewhere = StudyMismatch("closing of round 1", "another", "this")

    def moved(*_: object) -> None:
        raise elsewhere

    def course() -> Iterator[None]:
        stage.close(first)
        yield
        position = stage.session(first).position()
        delivery, update = stage.collect(position)[site]
        task = TrainTask(stage.params, position.previous, 2, b"")
        KeptAnswers(home.answers).keep(task, delivery, update)
        yield
        ward.contribute(sponsor, stage.study, 2, position.previous, delivery.entry)
        yield
        court, where = Court(ward), (stage.study, 2, position.previous.commitment, site)
        court.approve_deposit(first, stage.study)
        court.demand_contribution(first, *where, (0, 1))
        yield
        monkeypatch.setattr(WardRound, "study", away)
        yield
        monkeypatch.setattr(WardRound, "study", moved)
        yield
        monkeypatch.setattr(WardRound, "study", read)
        stage.close(first)
        yield
        stage.close(first)
        yield
        stage.chain.advance(stage.params.challenge_seconds)
        yield

    steps = course()
    monkeypatch.setattr(chain_commands, "time", SimpleNamespace(sleep=lambda _: next(steps)))
    watching = [hex_of(stage.study), "hospital", "--watch", "--key", "sponsor.key"]
    said = scene.world.run("site answer", *watching)
    lines = [line.split(" (")[0] for line in said.splitlines() if not line.startswith("  ")]
    lines.remove(f"the deposit of round 2 goes back to {sponsor.address}")
    assert lines == [
        "round 1 is open: the site has signed nothing for it yet",
        "round 2 is open: the site has signed nothing for it yet",
        "round 2 is open: the site has signed its contribution, and nothing is registered",
        "round 2 is open: the site's contribution is registered",
        "showed chunks 0 to 0 of the update of round 2",
        "waiting: the chain at http://chain does not answer",
        f"waiting: {elsewhere}",
        "round 3 is open: the site has signed nothing for it yet",
        "round 3 was the last: waiting until it is final",
        "the study is over and its last round final",
    ], said
    once = scene.world.run("site answer", watching[0], "hospital", "--key", "sponsor.key")
    assert once == "nothing is demanded of the registrations\n"


def test_answering_site_shows_chunks_before_a_deposit_that_cannot_be_given_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, ward = scene.stage, scene.stage.contract
    first, sponsor = stage.parties.first, stage.parties.sponsor
    hospital = stage.hospitals[0]
    site = stage.sites[0].address
    home = site_home(scene, bytes(hospital.account.key))
    for number in (1, 2):
        position = stage.session(first).position()
        delivery, update = stage.collect(position)[site]
        task = TrainTask(stage.params, position.previous, number, b"")
        KeptAnswers(home.answers).keep(task, delivery, update)
        ward.contribute(sponsor, stage.study, number, position.previous, delivery.entry)
        if number == 1:
            stage.close(first)
    stage.chain.advance(stage.params.challenge_seconds)
    court, where = Court(ward), (stage.study, 2, position.previous.commitment, site)
    court.approve_deposit(first, stage.study)
    court.demand_contribution(first, *where, (0, 1))

    def refused(*_: object) -> None:
        raise TransactionRefused("close the registration", "for this test")

    monkeypatch.setattr(Court, "close_contribution", refused)
    own = [hex_of(stage.study), "hospital", "--key", "sponsor.key"]
    said = scene.world.run("site answer", *own, status=1)
    assert "showed chunks 0 to 0 of the update of round 2" in said
    assert "for this test" in said
    assert court.standing(*where).shown == 1


def test_deposit_for_a_round_that_is_never_closed_goes_back_once_the_study_is_ended(
    scene: Scene,
) -> None:
    stage, ward = scene.stage, scene.stage.contract
    first, sponsor = stage.parties.first, stage.parties.sponsor
    site_home(scene, bytes(stage.hospitals[0].account.key))
    stage.close(first)
    position = stage.session(first).position()
    delivery, _ = stage.collect(position)[stage.sites[0].address]
    ward.contribute(sponsor, stage.study, 2, position.previous, delivery.entry)
    stage.chain.advance(10_000)
    ward.end_study(sponsor, stage.study)
    stage.chain.advance(stage.params.challenge_seconds)
    before = ward.owed(stage.study, sponsor.address)
    own = [hex_of(stage.study), "hospital", "--watch", "--key", "sponsor.key"]
    assert "the deposit of round 2 goes back" in scene.world.run("site answer", *own)
    assert ward.owed(stage.study, sponsor.address) - before == stage.params.deposit


def test_chunks_that_take_several_transactions_wait_for_confirmations_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, ward, chain = scene.stage, scene.stage.contract, scene.stage.chain
    first, sponsor, site = stage.parties.first, stage.parties.sponsor, stage.sites[0].address
    home = site_home(scene, bytes(stage.hospitals[0].account.key))
    stage.close(first)
    position = stage.session(first).position()
    delivery, update = stage.collect(position)[site]
    task = TrainTask(stage.params, position.previous, 2, b"")
    KeptAnswers(home.answers).keep(task, delivery, update)
    ward.contribute(sponsor, stage.study, 2, position.previous, delivery.entry)
    court, where = Court(ward), (stage.study, 2, position.previous.commitment, site)
    court.approve_deposit(first, stage.study)
    chunks = -(-stage.params.vector_size // 1024)
    court.demand_contribution(first, *where, (0, chunks))
    monkeypatch.setattr(chain_commands, "ANSWERED_CHUNKS", 1)
    monkeypatch.setattr(chain, "confirmations", 9)
    monkeypatch.setattr("time.sleep", lambda _: chain.advance(1))
    for _ in range(chain.confirmations):
        chain.advance(1)
    before = chain.block().number
    own = [hex_of(stage.study), "hospital", "--key", "sponsor.key"]
    said = scene.world.run("site answer", *own)
    assert said.count("showed chunks") == chunks > 1
    assert court.standing(*where).shown == chunks
    assert chain.block().number - before < 2 * chain.confirmations
