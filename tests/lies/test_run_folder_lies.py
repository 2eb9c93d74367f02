"""Whatever in a run's folder lies is named by the audit, or listed as not checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.calling import Call
from tests.integration.networks import finished_run
from tests.lies.run_folder import kinds_of, lies_in
from wardround.audit.audit import AuditedRound, StudyAudit
from wardround.audit.finished import FinishedRun, open_run, read_network
from wardround.audit.folders import Folders
from wardround.audit.run_folder import RunFolderAudit
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.journal import replay_journal
from wardround.protocol.errors import WardroundError

#: Every kind of file that a run leaves. One more fails here, until it has lies.
KINDS = (
    "coordinator/coordinator.key",
    "coordinator/coordinator.toml",
    "events.jsonl",
    "journal.jsonl",
    "layout.json",
    "model.safetensors",
    "network.json",
    "passwords/site-*.txt",
    "plots/accuracy.png",
    "plots/gas.png",
    "plots/rewards.png",
    "rounds.jsonl",
    "scenario.toml",
    "simulation.key",
    "sites/site-*/answers/*.safetensors",
    "sites/site-*/approvals/*.json",
    "sites/site-*/guard.log",
    "sites/site-*/keystore.json",
    "sites/site-*/policy.json",
    "sites/site-*/site.toml",
    "sites/site-*/test.npz",
    "sites/site-*/train.npz",
    "sites/site-*/training.secret",
    "sponsor.key",
    "store/CID",
    "summary.json",
)
#: From which chain and store are read: after a change of them all is read again.
SOURCES = ("journal.jsonl", "network.json", "store/")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def opened(original: Path) -> Iterator[tuple[FinishedRun, StudyAudit, list[AuditedRound]]]:
    with open_run(original) as run:
        work = StudyAudit(run.contract, run.study, run.store)
        yield run, work, list(work.rounds())


Outcome = tuple[str | None, list[str]]


def test_every_file_of_a_run_has_lies(original: Path) -> None:
    found = kinds_of(original)
    assert tuple(found) == KINDS
    lies = [lie for kind, paths in found.items() for lie in lies_in(original, kind, paths)]
    names = [lie.name for lie in lies]
    assert len(set(names)) == len(names)
    assert len(lies) >= 60, len(lies)


@pytest.mark.parametrize("kind", KINDS)
def test_lie_is_named_or_listed(
    kind: str,
    original: Path,
    opened: tuple[FinishedRun, StudyAudit, list[AuditedRound]],
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chains = dict[bytes, EmbeddedChain]()

    def once(path: Path, name: str) -> EmbeddedChain:
        """Of equal journals, one chain."""
        data = path.read_bytes()
        if data != (original / "journal.jsonl").read_bytes():
            return replay_journal(path, name)
        if data not in chains:
            chains[data] = replay_journal(path, name)
            monkeypatch.setattr(chains[data], "close", lambda: None)
        return chains[data]

    monkeypatch.setattr("wardround.audit.finished.replay_journal", once)
    folder = Path(shutil.copytree(original, tmp_path / "run"))
    before = {path: path.read_bytes() for path in files_of(folder)}
    missed = []
    for lie in lies_in(original, kind, kinds_of(original)[kind]):
        lie.tell(folder)
        if lie.file.startswith(SOURCES):
            outcome = audited_whole(call, folder)
        else:
            outcome = audited_files(opened, folder)
        altered = restored(folder, before)
        error, unchecked = outcome
        if error is None:
            is_caught = lie.is_listed(unchecked)
        else:
            named = (*(path.name for path in altered), *lie.words)
            is_caught = any(words.lower() in error.lower() for words in named)
        if not is_caught:
            missed.append(f"{lie.name}: {error}")
    assert not missed, "\n".join(missed)


def restored(folder: Path, before: dict[Path, bytes]) -> list[Path]:
    """Undo what was done to a folder, and name the files."""
    altered = [path for path in files_of(folder) if path not in before]
    for path in altered:
        path.unlink()
    for path, data in before.items():
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
            altered.append(path)
    return altered


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def audited_files(
    opened: tuple[FinishedRun, StudyAudit, list[AuditedRound]], folder: Path
) -> Outcome:
    """Compare a folder's files with the rounds, which were recomputed before."""
    run, work, rounds = opened
    try:
        audit = RunFolderAudit(
            replace(run, folders=Folders(folder), file=read_network(folder)), work
        )
        for one in rounds:
            audit.add(one)
        audit.check()
    except WardroundError as error:
        return str(error), []
    return None, audit.unchecked


def audited_whole(call: Call, folder: Path) -> Outcome:
    """Audit a folder as a user does."""
    ended = call("audit", folder, "--json", "--jobs", 1)
    if ended.status:
        return ended.error, []
    found = [json.loads(line) for line in ended.out.splitlines()]
    return None, [one["what"] for one in found if one["kind"] == "not_checked"]
