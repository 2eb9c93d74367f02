"""Locks that no honest coordinator can close with: what an auditor and a standby do about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.audit.test_auditor import auditor_of, challenger, kinds
from tests.chain.staged import Theatre, theatre
from wardround.audit.archived_study import ArchivedStudy
from wardround.audit.audit import StudyAudit
from wardround.audit.auditor import Auditor
from wardround.audit.notices import Powers
from wardround.chain.court_events import Demanded
from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.cid import cid_from_sha256, cid_of
from wardround.protocol.contribution import pack_entries
from wardround.protocol.errors import WardroundError
from wardround.protocol.evidence import What
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.manifest import parse_manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Recording, RuleId
from wardround.store import FolderStore
from wardround_coordinator.errors import PositionMoved
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater, Row
from wardround_simulations.stage import BOND, DEMAND_SECONDS, DEPOSIT, Stage, specification


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("locks"), studies=20) as opened:
        yield opened


def stage_of(scene: Theatre, recording: Recording = Recording.ROOT) -> Stage:
    name = f"locks-{len(scene.stages)}"
    scene.stages.append(name)
    spec = specification(name, recording, RuleId.MEAN, rounds=3, quorum=0)
    chain = spec.chain.model_copy(update={"locked_cohort": True})
    spec = spec.model_copy(update={"chain": chain})
    stage = Stage(scene.ward, scene.token, scene.parties, spec, scene.folder / name)
    stage.close(scene.parties.first)
    return stage


def closed_by_standby(scene: Theatre, stage: Stage) -> None:
    state = scene.ward.study(stage.study)
    assert (state.head, state.attempt) == (2, 1)
    assert scene.ward.seat(stage.study, scene.parties.first.address).barred
    stage.close(scene.parties.standby)
    assert scene.ward.study(stage.study).head == 3


@pytest.mark.parametrize("recording", list(Recording))
def test_locked_update_that_is_not_shown_overturns_the_lock(
    scene: Theatre, recording: Recording
) -> None:
    stage = stage_of(scene, recording)
    cheats.lock_a_hidden_update(Cheater(stage, scene.parties.first))
    breach = auditor_of(scene, stage).lock_breach()
    assert breach is not None
    assert "the update of" in breach.what
    auditor = auditor_of(scene, stage, challenger(scene))
    assert kinds(auditor.step()) == [("holds", 1), ("breach", 2), ("demanded", 2)]
    assert auditor.step() == []
    assert [breach.round for breach in auditor.breaches] == [2]
    before = scene.token.balance_of(scene.parties.auditor.address)
    scene.chain.advance(DEMAND_SECONDS + 1)
    assert kinds(auditor.step()) == [("challenged", 2)]
    # All three deposits are back, and half of the bond is there.
    paid = scene.token.balance_of(scene.parties.auditor.address) - before
    assert paid == 3 * DEPOSIT + BOND // 2
    (overturned,) = auditor.step()
    assert (overturned.kind, overturned.round) == ("overturned", 2)
    assert "locked it wrongly" in overturned.words
    assert auditor.breaches == []
    closed_by_standby(scene, stage)
    assert kinds(auditor.step()) == [("holds", 2)]


@pytest.mark.parametrize(
    ("cheat", "challenge"),
    [
        (cheats.lock_a_wrong_weight, "challengeEntry"),
        (cheats.lock_beyond_the_bound, "challengeUpdate"),
        (cheats.lock_without_a_site, "challengeOmission"),
    ],
)
def test_wrong_lock_is_proven_at_once(
    scene: Theatre, cheat: Callable[[Cheater], None], challenge: str
) -> None:
    stage = stage_of(scene)
    cheater = Cheater(stage, scene.parties.first)
    entry, previous = cheater.rows[1].entry, cheater.position.previous
    if challenge == "challengeOmission":
        scene.ward.contribute(scene.parties.auditor, stage.study, 2, previous, entry)
    cheat(cheater)
    assert auditor_of(scene, stage).lock_breach() is not None
    auditor = auditor_of(scene, stage, challenger(scene))
    notices = auditor.step()
    assert kinds(notices) == [("holds", 1), ("breach", 2), ("challenged", 2)]
    assert notices[-1].challenge == challenge
    closed_by_standby(scene, stage)


def test_honest_lock_is_right_and_nothing_is_demanded(scene: Theatre) -> None:
    stage = stage_of(scene)
    cheater = Cheater(stage, scene.parties.first)
    cheater.lock(cheater.rows)
    auditor = auditor_of(scene, stage, challenger(scene))
    assert kinds(auditor.step()) == [("holds", 1)]
    assert auditor.breaches == []
    assert auditor_of(scene, stage).lock_breach() is None


def test_hidden_cohort_that_is_shown_on_chain_is_closed(scene: Theatre, tmp_path: Path) -> None:
    """Its coordinator shows all at the last moment, and a standby closes with what was shown."""
    stage = stage_of(scene)
    cheater = Cheater(stage, scene.parties.first)
    packed = pack_entries([row.entry for row in cheater.rows])
    update = vector_bytes(cheater.rows[1].update)
    whole = FolderStore(tmp_path)
    for data in (packed, update):
        whole.put(data)
    cheater.lock(cheater.rows, [cid_of(packed), cid_of(update)])
    auditor = auditor_of(scene, stage, challenger(scene))
    powers = Powers(scene.parties.first, answer=True)
    answering = Auditor(scene.ward, stage.study, whole_of(stage, whole), powers, now=lambda: 0.0)
    asked = []
    for _ in range(2):
        assert ("demanded", 2) in kinds(auditor.step())
        events = [one for one in scene.court.events(stage.study) if isinstance(one, Demanded)]
        asked.append({one.what for one in events})
        scene.chain.advance(events[-1].deadline - scene.chain.timestamp() - 60)
        assert ("answered", 2) in kinds(answering.step())
    assert asked == [{What.ENTRY}, {What.ENTRY, What.UPDATE}]
    assert auditor.step() == []
    scene.chain.advance(10_000)
    scene.ward.take_over(scene.parties.standby, stage.study)
    said: list[str] = []
    session = stage.session(scene.parties.standby, say=said.append)
    outcome = session.run_round(session.position(), {}, ())
    assert [row.entry for row in cheater.rows] == outcome.state.entries
    assert len(said) == 1
    assert "not in the store" in said[0]
    assert "overturns the lock" in said[0]


def whole_of(stage: Stage, more: FolderStore) -> FolderStore:
    for cid in stage.store.cids():
        more.put(stage.store.get(cid))
    return more


def test_coordinator_waits_for_a_lock_that_it_cannot_close_until_it_is_overturned(
    scene: Theatre,
) -> None:
    stage = stage_of(scene)
    cheats.lock_hidden_entries(Cheater(stage, scene.parties.first))
    scene.chain.advance(10_000)
    scene.ward.take_over(scene.parties.standby, stage.study)
    auditor = auditor_of(scene, stage, challenger(scene))
    auditor.step()

    def wait(_: float) -> None:
        scene.chain.advance(DEMAND_SECONDS // 2 + 1)
        auditor.step()

    said: list[str] = []
    session = stage.session(scene.parties.standby, say=said.append, wait=wait)
    with pytest.raises(PositionMoved):
        session.run_round(session.position(), {}, ())
    assert len(said) == 1
    # It was not the standby that had locked it.
    assert not scene.ward.seat(stage.study, scene.parties.standby.address).barred
    closed_by_standby(scene, stage)


def signed_by_site(cheater: Cheater, row: Row, **changes: object) -> Row:
    """A row that its site has signed with other contents, as the coordinator's friend."""
    keys = {str(one.account.address): bytes(one.account.key) for one in cheater.stage.hospitals}
    entry = replace(row.entry, **changes)  # type: ignore[arg-type]
    return replace(row, entry=replace(entry, signature=cheater.signed(entry, keys[entry.site])))


def copied_update(cheater: Cheater) -> list[Row]:
    first, second, *others = cheater.rows
    copy = signed_by_site(cheater, second, update=first.entry.update)
    return [first, replace(copy, update=first.update), *others]


def update_of_an_earlier_round(cheater: Cheater) -> list[Row]:
    ward, stage, (first, *others) = cheater.stage.contract, cheater.stage, cheater.rows
    closed = ward.closed_rounds(stage.study)[0].closing.record
    manifest = parse_manifest(stage.store.get(cid_from_sha256(closed.manifest)))
    data = stage.store.get(manifest.contributions[1].update.cid)
    old = signed_by_site(cheater, first, update=vector_root(data))
    return [replace(old, update=stage.params.read_vector(data)), *others]


def wrong_report(cheater: Cheater) -> list[Row]:
    first, *others = cheater.rows
    report = canonical_bytes(json.loads(first.report) | {"code": "0x" + "00" * 32})
    changed = signed_by_site(cheater, first, report=sha256_digest(report))
    return [replace(changed, report=report), *others]


def hidden_report(cheater: Cheater) -> list[Row]:
    first, *others = cheater.rows
    report = canonical_bytes(json.loads(first.report) | {"seconds": 99})
    changed = signed_by_site(cheater, first, report=sha256_digest(report))
    return [replace(changed, report=b"another object"), *others]


LIES: dict[Callable[[Cheater], list[Row]], str] = {
    copied_update: "copied_update",
    update_of_an_earlier_round: "copied_update",
    wrong_report: "code",
    hidden_report: "report",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_lock_that_no_challenge_proves_wrong_is_closed_by_a_standby_and_named(
    scene: Theatre, lie: Callable[[Cheater], list[Row]]
) -> None:
    """It has to take what another locked: only who locked could have left it out."""
    stage, parties, ward = stage_of(scene), scene.parties, scene.ward
    cheater = Cheater(stage, parties.first)
    rows = lie(cheater)
    (false,) = (one.entry for one, true in zip(rows, cheater.rows, strict=True) if one != true)
    cheater.lock(rows)
    scene.chain.advance(10_000)
    ward.take_over(parties.standby, stage.study)
    stage.close(parties.standby)
    *_, last = StudyAudit(ward, stage.study, stage.store).rounds()
    named = [(one.check, one.by) for one in last.exemptions]
    assert named == [(LIES[lie], parties.first.address)]
    assert last.exemptions[0].site in {one.entry.site for one in rows}
    assert f"since {parties.first.address} had locked it: " in last.exemptions[0].words
    assert false in [row.entry() for row in last.manifest.contributions]
    assert kinds(auditor_of(scene, stage).step()) == [("holds", 1), ("holds", 2)]
    # An archive of the same events tells the same.
    archived = object.__new__(ArchivedStudy)
    archived._events = ward.events(stage.study)
    where = (stage.study, 2, last.closed.block_number)
    assert archived.locked_by(*where) == ward.locked_by(*where) == parties.first.address
    assert archived.locked_by(stage.study, 2, 0) is None


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_lock_that_no_challenge_proves_wrong_is_held_against_who_closes_its_own(
    scene: Theatre, lie: Callable[[Cheater], list[Row]]
) -> None:
    stage = stage_of(scene)
    cheater = Cheater(stage, scene.parties.first)
    cheater.lock(lie(cheater))
    stage.close(scene.parties.first)
    with pytest.raises(WardroundError):
        list(StudyAudit(scene.ward, stage.study, stage.store).rounds())
    assert kinds(auditor_of(scene, stage).step()) == [("holds", 1), ("breach", 2)]
