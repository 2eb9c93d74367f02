"""A coordinator leaves one hospital out, and the hospital's own commands end it, on record."""

from __future__ import annotations

from eth_account import Account

from tests.test_entry_points import Scene, scene, site_home, world
from wardround.audit.audit import StudyAudit
from wardround.chain.events import Overturned
from wardround.protocol.identifiers import hex_of
from wardround.protocol.manifest import Dropped
from wardround.protocol.messages import TrainTask
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
    assert "has registered" in world.run("site contribute", *own, "sponsor.key")

    # The censor waits for the cut-off, and closes without the site.
    chain.advance(stage.params.registration_seconds)
    cheats.drop_a_site(censor)
    challenge = [study, *scene.on("whole", "sponsor")]
    assert "left out" in world.run("court challenge", *challenge, status=1)
    (overturned,) = [one for one in ward.events(stage.study) if isinstance(one, Overturned)]
    assert (overturned.round, overturned.coordinator) == (2, stage.parties.first.address)
    assert ward.seat(stage.study, stage.parties.first.address).barred

    # The standby has no reply of the site either; it demands the update, and the site shows it.
    def wait(seconds: float) -> None:
        said.append(world.run("site answer", *own, "sponsor.key"))
        chain.advance(max(1, int(seconds)))

    said: list[str] = []
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
    rounds = StudyAudit(ward, stage.study, stage.store).rounds()
    assert [one.closed.round for one in rounds] == [1, 2]

    # Once the round is final, its deposit is back with who sent it.
    assert "signed nothing for round 3" in world.run("site answer", *own, "sponsor.key", status=1)
    chain.advance(stage.params.challenge_seconds)
    assert "deposit of round 2 goes back" in world.run("site answer", *own, "sponsor.key")
    assert ward.owed(stage.study, stage.parties.sponsor.address) >= stage.params.deposit
