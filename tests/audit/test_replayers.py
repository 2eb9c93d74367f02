"""Several processes share the rounds of an audit, and what comes out is the same."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.calling import Call
from tests.chain.staged import Theatre, theatre
from tests.integration.networks import finished_run
from wardround.audit import replayers as processes
from wardround.audit.audit import StudyAudit
from wardround.audit.auditing import Depth, audit_study
from wardround.audit.findings import Findings
from wardround.audit.replayers import hindrance, offered, replayers
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.errors import WardroundError
from wardround.protocol.manifest import Manifest, ManifestEntry, parse_manifest
from wardround.protocol.record import Recording
from wardround.store import FolderStore, ReplicatedStore
from wardround.store.base import Store
from wardround_simulations.cheats import Cheater, shift_a_coordinate
from wardround_simulations.stage import Stage

ROUNDS = 4


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("scene")) as staged:
        yield staged


@pytest.fixture(scope="module")
def honest(scene: Theatre) -> Stage:
    """A study whose second round has a registered contribution, with a report in no store."""
    stage = scene.stage(Recording.FULL, rounds=ROUNDS)
    stage.close(scene.parties.first)
    position = stage.session(scene.parties.first).position()
    entry = next(iter(stage.collect(position).values()))[0].entry
    stage.contract.contribute(scene.parties.standby, stage.study, 2, position.previous, entry)
    for _ in range(ROUNDS - 1):
        stage.close(scene.parties.first)
    Path(stage.store.folder, cid_from_sha256(entry.report)).unlink()
    return stage


@pytest.fixture(scope="module")
def shifted(scene: Theatre) -> Stage:
    """A study of four rounds; the model of the third is another than its updates give."""
    stage = scene.stage(Recording.ROOT, rounds=ROUNDS)
    for _ in range(2):
        stage.close(scene.parties.first)
    shift_a_coordinate(Cheater(stage, scene.parties.first))
    stage.close(scene.parties.first)
    return stage


def manifest(stage: Stage, number: int) -> Manifest:
    record = stage.contract.closed(stage.study, number).closing.record
    return parse_manifest(stage.store.get(cid_from_sha256(record.manifest)))


def first(stage: Stage, number: int) -> ManifestEntry:
    return manifest(stage, number).contributions[0]


def outcome(
    stage: Stage, store: Store, jobs: int, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> tuple[str, str, str]:
    """What an audit prints, and the error that it ends with."""
    capsys.readouterr()
    error = ""
    try:
        audit_study(stage.contract, stage.study, store, Findings(as_json), Depth(jobs=jobs))
    except WardroundError as raised:
        error = f"{raised} [{raised.code}]"
    out, err = capsys.readouterr()
    return out, err, error


def spoilt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


ALTERED: dict[str, Callable[[Stage, Path], None]] = {
    "nothing": lambda stage, store: None,
    "an update": lambda stage, store: spoilt(store / first(stage, 3).update.cid),
    "a report": lambda stage, store: spoilt(store / first(stage, 1).report.cid),
    "a lost model": lambda stage, store: (store / manifest(stage, 2).model.cid).unlink(),
    "a lost base": lambda stage, store: (store / manifest(stage, 1).base.cid).unlink(),
    "a manifest": lambda stage, store: spoilt(store / cid_from_sha256(
        stage.contract.closed(stage.study, 4).closing.record.manifest
    )),
    "an object of no round": lambda stage, store: spoilt(
        store / FolderStore(store).put(b"of no round")
    ),
}  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("altered", ALTERED)
@pytest.mark.parametrize("study", ["honest", "shifted"])
def test_audit_in_parallel_prints_what_one_process_prints(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    study: str, altered: str, as_json: bool,
) -> None:  # fmt: skip
    stage = request.getfixturevalue(study)
    shutil.copytree(stage.store.folder, tmp_path / "store")
    ALTERED[altered](stage, tmp_path / "store")
    store = FolderStore(tmp_path / "store")
    alone = outcome(stage, store, 1, as_json, capsys)
    assert [outcome(stage, store, jobs, as_json, capsys) for jobs in (2, 3)] == [alone, alone]
    _, err, error = alone
    assert err == ""
    assert (error == "") == (study == "honest" and altered == "nothing")


def test_audit_in_parallel_excuses_what_one_process_excuses(honest: Stage) -> None:
    work = StudyAudit(honest.contract, honest.study, honest.store)
    alone, shared = list(work.rounds()), list(work.rounds(jobs=4))
    assert alone == shared
    assert [[one.check for one in found.exemptions] for found in shared] == [[], ["report"], [], []]


def test_rounds_are_judged_by_other_processes(
    honest: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four rounds the audit replays the one alone that the chain has to be asked about."""
    work = StudyAudit(honest.contract, honest.study, honest.store)
    replayed: list[int] = []
    replay = work._replay
    monkeypatch.setattr(
        work,
        "_replay",
        lambda closed, *more: replayed.append(closed.round) or replay(closed, *more),
    )
    assert len(list(work.rounds(jobs=2))) == ROUNDS
    assert replayed == [2]


def test_audit_whose_objects_a_round_has_read_hashes_them_once(
    shifted: Stage, honest: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = StudyAudit(shifted.contract, shifted.study, shifted.store, last_round=2)
    found = list(work.rounds())
    read: list[str] = []
    verify = FolderStore.map
    monkeypatch.setattr(
        FolderStore, "map", lambda self, cid, *more: read.append(cid) or verify(self, cid, *more)
    )
    assert work.check_objects() == len(list(shifted.store.cids()))
    once = {row.update.cid for one in found for row in one.manifest.contributions}
    assert read
    assert not once & set(read)


# ---------------------------------------------------------------------------- the processes


def test_process_that_ends_leaves_its_rounds_to_the_audit() -> None:
    def judge(places: Sequence[int]) -> Iterator[bool]:
        for place in places:
            if place == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            if place == 4:
                raise MemoryError
            yield True

    with replayers(2, 8, judge) as others:
        answers = [others.holds(place) for place in range(8)]
    assert answers == [True, True, True, False, False, False, False, False]


def test_processes_end_with_the_audit() -> None:
    def judge(places: Sequence[int]) -> Iterator[bool]:
        yield True
        threading.Event().wait()

    with replayers(2, 8, judge) as others:
        assert others.holds(0)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_processes_are_offered_where_the_store_can_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FolderStore(tmp_path)
    assert offered(folder) == processes.cores() >= 1
    assert offered(ReplicatedStore([folder, folder])) == processes.cores()
    monkeypatch.setattr(folder, "is_forkable", False)
    assert offered(folder) == 1
    assert "folders" in str(hindrance(ReplicatedStore([folder, FolderStore(tmp_path)])))


def test_processes_are_not_offered_beside_threads(tmp_path: Path) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert "threads" in str(hindrance(FolderStore(tmp_path)))
    finally:
        end.set()
        thread.join()


# ---------------------------------------------------------------------------- the option


def test_jobs_are_taken_as_given_or_refused(
    call: Call, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = finished_run(tmp_path_factory.getbasetemp())
    assert call("audit", run, "--jobs", 2).good == call("audit", run, "--jobs", 1).good
    for nonsense in ("0", "-1", "257", "two", ""):
        assert call("audit", run, "--jobs", nonsense).status == 2
    assert "does not go with --watch" in call("audit", run, "--watch", "--jobs", 1).err
