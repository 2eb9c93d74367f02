"""A study that locks its cohorts, as `simulate` runs it: on record, indexed, exported, audited."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.coordinator.conftest import Hospitals
from tests.integration.networks import prepared, run, small_scenario
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround.chain.court import Court
from wardround.chain.court_reader import Contested
from wardround.chain.events import CohortLocked, Overturned
from wardround.command_line import app
from wardround.explorer.evidence import export
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_round
from wardround.explorer.sites import read_site
from wardround.explorer.source import Source, run_source
from wardround.explorer.studies import list_studies, read_study
from wardround.protocol.inspection import omission
from wardround.protocol.messages import TrainReply
from wardround.store import FolderStore
from wardround_coordinator.session import Session


@pytest.mark.parametrize("recording", ["full", "root"])
def test_study_with_locked_cohorts_holds_wherever_it_is_read(
    tmp_path: Path, recording: str
) -> None:
    folder, full = tmp_path / "run", recording == "full"
    run(small_scenario(chain={"recording": recording, "locked_cohort": True}), folder)
    with open_run(folder) as opened:
        rounds = StudyAudit(opened.contract, opened.study, opened.store).rounds()
        entries = {one.closed.round: one.closed.entries for one in rounds}
        events = opened.contract.events(opened.study)
    assert [one.round for one in events if isinstance(one, CohortLocked)] == [1, 2, 3]
    assert all((found is not None) == full for found in entries.values())

    with run_source(folder) as source:
        indexer = Indexer(source, tmp_path / "index.sqlite")
        indexer.catch_up()
        indexer.close()
        reader = Reader(tmp_path / "index.sqlite")
        (study,) = list_studies(reader).rows
        found = read_round(reader, study.study, 2)
        assert {one.on_chain for one in found.entries} == {full}
        assert found.entries_transaction != found.summary.transaction
        site = read_site(reader, found.entries[0].site)
        assert len(site.contributions.rows) == 3
        assert export(source, reader, study.study, None, tmp_path / "evidence.zip") == []
        reader.close()
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "evidence.zip")])
    assert done.exit_code == 0, done.output
    assert "All holds." in done.output


@pytest.mark.parametrize("recording", ["full", "root"])
def test_lock_that_was_proven_wrong_is_on_record_and_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording: str
) -> None:
    chain = {"recording": recording, "locked_cohort": True, "registration_seconds": 12}
    with prepared(small_scenario(chain=chain), tmp_path / "network", 1) as network:
        hospitals, ward, study = Hospitals(network), network.contract, network.study
        session, (first, standby) = hospitals.session(), network.keys.coordinators
        position = session.position()
        replies = [hospitals.reply(node, position) for node in hospitals.asked]
        entries = sorted(
            (TrainReply.parse(one.fields).entry for one in replies),
            key=lambda one: one.site.lower(),
        )
        left = entries.pop(1)
        ward.contribute(network.keys.sponsor, study, 1, position.previous, left)
        ward.chain.advance(network.params.registration_seconds)
        ward.lock_cohort(first, session.facts, 1, position.previous, entries)
        locked = ward.locked_cohort(study, 1)
        assert locked is not None
        court = Court(ward)
        monkeypatch.setattr(court, "stands", lambda _: ward.study(study).attempt == 0)
        contested = Contested(study, 1, locked.closing, position.previous)
        evidence = omission([one.pack() for one in entries], left.site)
        assert court.challenge(network.keys.sponsor, contested, evidence) is not None
        assert ward.seat(study, first.address).barred
        assert ward.locked_cohort(study, 1) is None

        ward.chain.advance(network.params.registration_seconds)
        store = FolderStore(network.folders.store)
        again = Session(ward, standby, store, ward.facts(study))
        closed = again.run_round(position, hospitals.asked, hospitals.replies(position))
        assert closed.closing.record.count == 3
        (overturned,) = [one for one in ward.events(study) if isinstance(one, Overturned)]
        assert (overturned.round, overturned.coordinator) == (1, first.address)

        indexer = Indexer(
            Source("locks", ward.chain, ward, court, store, 0, False), tmp_path / "index"
        )
        indexer.catch_up()
        indexer.close()
    reader = Reader(tmp_path / "index")
    (row,) = list_studies(reader).rows
    assert (row.head, row.overturned) == (2, 1)
    members = read_study(reader, row.study).members
    assert {one.contributions for one in members} == {1 if recording == "full" else 0}
    found = read_round(reader, row.study, 1)
    assert found.others == []
    assert {"CohortLocked", "OmissionProven", "Overturned"} <= {one.name for one in found.events}
    reader.close()
