"""A study that locks its cohorts, as `simulate` runs it: on record, indexed, exported, audited."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.integration.networks import run, small_scenario
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround.chain.events import CohortLocked
from wardround.command_line import app
from wardround.explorer.evidence import export
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_round
from wardround.explorer.sites import read_site
from wardround.explorer.source import run_source
from wardround.explorer.studies import list_studies


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
