"""An audit takes the first model as recorded, and builds it again on request alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.calling import Call
from tests.integration.networks import own_scenario, run
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround.audit.first_model import rebuild_first_model
from wardround.host.sandbox.machine import Offer
from wardround.protocol.cid import cid_of
from wardround.protocol.errors import ReplayFailed
from wardround.protocol.identifiers import Root

SOURCE = b"from torch import nn\n\n\ndef build():\n    return nn.Linear(6, 1)\n"
TAKEN = "first model: taken as recorded; --run-study-code builds it again"


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of one round with a model of its own."""
    folder = tmp_path_factory.mktemp("own") / "run"
    run(own_scenario({"model.py": SOURCE}, study={"rounds": 1}), folder)
    for name in modules_of_studies():
        del sys.modules[name]
    return folder


def modules_of_studies() -> list[str]:
    return [name for name in sys.modules if name.startswith("wardround_study_")]


def test_audit_runs_nothing_of_a_study_by_itself(own_run: Path, call: Call) -> None:
    with open_run(own_run) as opened:
        assert opened.store.get(cid_of(SOURCE)) == SOURCE
    said = call("audit", own_run).good
    assert TAKEN in said
    assert "All holds." in said
    assert not modules_of_studies()


def test_audit_on_request_builds_the_first_model_again(own_run: Path, call: Call) -> None:
    said = call("audit", own_run, "--run-study-code").good
    assert "first model: built again in a sandbox (" in said
    assert "… equal" in said
    assert TAKEN not in said
    assert not modules_of_studies(), "it was built in this process"


def test_first_model_that_does_not_follow_from_the_specification_is_named(own_run: Path) -> None:
    with open_run(own_run) as opened:
        work = StudyAudit(opened.contract, opened.study, opened.store)
        params = replace(work.facts.params, initial_model=Root(bytes(32)))
        work.facts = replace(work.facts, params=params)
        with pytest.raises(ReplayFailed, match="round 1: first model: built again here by PyTorch"):
            rebuild_first_model(work)


def test_code_of_a_study_without_a_sandbox_is_not_run(
    own_run: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Offer("bubblewrap is not installed", 0, seccomp=False)
    monkeypatch.setattr("wardround.audit.first_model.offered", lambda: nothing)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it was started"))
    error = call("audit", own_run, "--run-study-code").error
    assert "offers no sandbox for the study's code" in error
    assert "audit without --run-study-code" in error


def test_audit_that_watches_builds_nothing(own_run: Path, call: Call) -> None:
    ended = call("audit", own_run, "--watch", "--run-study-code")
    assert ended.status == 2
    assert "--run-study-code does not go with --watch" in ended.err


def test_own_file_is_shown_as_text(own_run: Path, call: Call) -> None:
    assert SOURCE.decode() in call("show", own_run, cid_of(SOURCE)).good
