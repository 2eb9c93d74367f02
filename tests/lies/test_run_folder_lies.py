"""Whatever in a run's folder lies is named by the audit, or listed as not checked."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.calling import Call
from tests.integration.networks import finished_run, one_site, run, small_scenario, toml_of
from tests.lies.run_folder import kinds_of, lies_in
from wardround.audit.audit import AuditedRound, StudyAudit
from wardround.audit.finished import FinishedRun, open_run, read_network
from wardround.audit.folders import Folders
from wardround.audit.run_folder import RunFolderAudit
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.journal import replay_journal
from wardround.protocol.errors import WardroundError
from wardround_simulations.live.run import LiveNetwork

#: Every kind of file that a plain run leaves. One more fails here, until it has lies.
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
#: What a run with an encrypted store has besides.
SEALED = (
    "auditor/auditor.key",
    "auditor/reading.key",
    "coordinator/model.safetensors",
    "coordinator/reading.key",
    "sponsor-reading.key",
    "store/.sealed/CID",
    "store/.sealed/rings-*",
)
#: What each process of a network leaves in its home.
COORDINATOR = (
    "coordinator.key", "coordinator.toml", "flower/*", "logs/events.jsonl", "logs/serverapp.lock",
    "logs/superlink.log", "reading.key", "run.lock", "sites/*.json", "tls/ca.key", "tls/ca.pem",
    "tls/server.key", "tls/server.pem",
)  # fmt: skip
SITE = (
    "coordinator.pem", "enrolment.json", "flower/*", "logs/events.jsonl", "logs/guard.log",
    "logs/supernode-*.log", "logs/supernode.log", "logs/tasks.log", "node.key", "run.lock",
    "standby-*.pem",
)  # fmt: skip
PROCESSES = (
    "chain/anvil.lock", "chain/chain.jsonl", "chain/logs/events.jsonl", "logs/coordinator.log",
    "logs/site-*.log", "logs/standby-*.log",
    *(f"{home}/{kind}" for home in ("coordinator", "standby-*") for kind in COORDINATOR),
    *(f"sites/site-*/{kind}" for kind in SITE),
)  # fmt: skip
PLOTS = {"plots/accuracy.png", "plots/gas.png", "plots/rewards.png"}
#: By run: the kinds that a plain one has not, and those that it lacks.
RUNS: dict[str, tuple[set[str], set[str]]] = {
    "plain": (set(), set()),
    "attacked": ({"sites/site-*/behaviour.json"}, set()),
    "sealed": ({*SEALED}, {"model.safetensors"}),
    "network": ({*SEALED, *PROCESSES}, {"model.safetensors", *PLOTS}),
}
#: Of other runs, what is not in a plain one; and the file that states more.
CASES = (
    *(("plain", kind) for kind in KINDS),
    *(
        pytest.param(name, kind, marks=[pytest.mark.deep] if name == "network" else [])
        for name, (more, _) in RUNS.items()
        for kind in sorted({*more, "network.json"})
        if name != "plain"
    ),
)
#: From which chain and store are read: after a change of them all is read again.
SOURCES = ("journal.jsonl", "network.json", "store/")


@dataclass(frozen=True)
class Recomputed:
    """A run's folder, of which no test may change anything, and its rounds recomputed once."""

    folder: Path
    run: FinishedRun
    work: StudyAudit
    rounds: list[AuditedRound]
    reading_key: Path | None


def folder_of(name: str, base: Path) -> Path:
    """Run what leaves such a folder."""
    folder = base / name
    if name == "plain":
        return finished_run(base)
    if name == "attacked":
        run(small_scenario(behaviour=[{"site": "site-1", "attack": "nan"}]), folder)
    if name == "sealed":
        run(small_scenario(), folder, confidential=True)
    if name == "network":
        scenario, stopped = one_site(2), threading.Event()
        network = LiveNetwork(folder, lambda *_: None, lambda: datetime.now(UTC), stopped)
        options: dict[str, Any] = {"standbys": 1, "confidential": True}
        assert network.run(scenario, toml_of(scenario), None, **options) is not None
    return folder


@pytest.fixture(scope="module")
def recomputed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Recomputed]]:
    """Run and recompute each of `RUNS` once, when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def make(name: str) -> Recomputed:
            folder = folder_of(name, tmp_path_factory.getbasetemp())
            key = folder / "auditor" / "reading.key"
            reading_key = key if key.exists() else None
            opened = stack.enter_context(open_run(folder, reading=reading_key))
            work = StudyAudit(opened.contract, opened.study, opened.store)
            return Recomputed(folder, opened, work, list(work.rounds()), reading_key)

        yield make


Outcome = tuple[str | None, list[str]]


@pytest.mark.parametrize(
    "name", [*list(RUNS)[:-1], pytest.param("network", marks=pytest.mark.deep)]
)
def test_every_file_of_a_run_has_lies(name: str, recomputed: Callable[[str], Recomputed]) -> None:
    folder, (more, lacking) = recomputed(name).folder, RUNS[name]
    found = kinds_of(folder)
    assert set(found) == {*KINDS, *more} - lacking
    lies = {kind: [*lies_in(folder, kind, paths)] for kind, paths in found.items()}
    assert all(lies.values())
    names = [lie.name for told in lies.values() for lie in told]
    assert len(set(names)) == len(names)
    assert len(names) >= 60, len(names)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_lie_is_named_or_listed(
    name: str,
    kind: str,
    recomputed: Callable[[str], Recomputed],
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chains, original = dict[bytes, EmbeddedChain](), recomputed(name).folder

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
            outcome = audited_whole(call, folder, recomputed(name).reading_key)
        else:
            outcome = audited_files(recomputed(name), folder)
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


def audited_files(known: Recomputed, folder: Path) -> Outcome:
    """Compare a folder's files with the rounds, which were recomputed before."""
    try:
        audit = RunFolderAudit(
            replace(known.run, folders=Folders(folder), file=read_network(folder)), known.work
        )
        for one in known.rounds:
            audit.add(one)
        audit.check()
    except WardroundError as error:
        return str(error), []
    return None, audit.unchecked


def audited_whole(call: Call, folder: Path, reading_key: Path | None) -> Outcome:
    """Audit a folder as a user does."""
    key = () if reading_key is None else ("--reading-key", reading_key)
    ended = call("audit", folder, "--json", "--jobs", 1, *key)
    if ended.status:
        return ended.error, []
    found = [json.loads(line) for line in ended.out.splitlines()]
    return None, [one["what"] for one in found if one["kind"] == "not_checked"]
