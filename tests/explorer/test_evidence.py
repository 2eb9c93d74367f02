"""Evidence is proven without a network, and every alteration of it is found."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.explorer.worlds import World, world
from wardround.audit.archive import Archive
from wardround.audit.archived_study import ArchivedStudy
from wardround.audit.auditing import Depth, audit_archive
from wardround.audit.findings import Findings
from wardround.chain.events import StudyCreated
from wardround.command_line import app
from wardround.explorer.evidence import export
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_round
from wardround.explorer.source import run_source
from wardround.explorer.studies import list_studies, read_study
from wardround.explorer.web import urls
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.lookup import search_page
from wardround.protocol.errors import ProtocolError, StudyMismatch, WardroundError
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import StudyParties
from wardround_simulations.cheating import CHEATS, Trials
from wardround_simulations.cheating import Recording as TrialRecording


@pytest.fixture(scope="module")
def archive(run_folder: Path, run_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with a journal."""
    path = tmp_path_factory.mktemp("archive") / "evidence.zip"
    reader = Reader(run_index)
    with run_source(run_folder) as source:
        study = list_studies(reader).rows[0].study
        assert export(source, reader, study, None, path) == []
    reader.close()
    return path


@pytest.fixture(scope="module")
def cheated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """A live chain with a study whose second round was overturned and closed again."""
    with world(tmp_path_factory.mktemp("cheated")) as made:
        trials = Trials(made.chain, made.parties, made.folder / "stores")
        trials.honest(CHEATS[0].rule, TrialRecording.FULL)
        assert trials.trial(CHEATS[0], TrialRecording.FULL).good
        made.ward = trials._ward
        stores = sorted((made.folder / "stores").iterdir(), key=lambda one: one.stat().st_mtime)
        for one in stores:
            shutil.copytree(one, made.folder / "store", dirs_exist_ok=True)
        yield made, stores[-1].name


@pytest.fixture(scope="module")
def live_archive(cheated: tuple[World, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a live chain, without a journal."""
    made, _ = cheated
    folder = tmp_path_factory.mktemp("live")
    source = made.source()
    indexer = Indexer(source, folder / "index.sqlite")
    indexer.catch_up()
    indexer.close()
    reader = Reader(folder / "index.sqlite")
    study = next(one.study for one in list_studies(reader).rows if one.overturned)
    assert export(source, reader, study, None, folder / "evidence.zip") == []
    assert export(source, reader, study, 2, folder / "round.zip") == []
    reader.close()
    return folder / "evidence.zip"


def audit(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    audit_archive(path, Findings(as_json=False), Depth())
    return capsys.readouterr().out


def rewritten(path: Path, to: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy in which entries were changed; None leaves one out."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return to


def test_archive_of_a_run_is_verified(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = audit(archive, capsys)
    assert "journal: executed again" in said
    assert said.count("signatures and updates verified") == 3
    assert said.endswith("All holds.\n")


def test_rounds_that_an_archive_leaves_out_are_named(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its journal has them all, and its description says which are recomputed."""
    said = audit(
        rewritten(
            archive,
            tmp_path / "other.zip",
            lambda name, data: (
                data.replace(b'"last_round": 3', b'"last_round": 1')
                if name == "evidence.json"
                else data
            ),
        ),
        capsys,
    )
    assert said.count("signatures and updates verified") == 1
    assert "not checked: rounds 2 to 3: closed" in said


def test_same_study_gives_the_same_bytes(
    archive: Path, run_folder: Path, run_index: Path, tmp_path: Path
) -> None:
    reader = Reader(run_index)
    with run_source(run_folder) as source:
        study = list_studies(reader).rows[0].study
        export(source, reader, study, None, tmp_path / "again.zip")
    reader.close()
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_archive_of_a_live_chain_is_verified_without_it(
    live_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = audit(live_archive, capsys)
    assert "block hashes and receipt roots recomputed" in said
    assert " 0 block hashes" not in said
    assert said.count("signatures and updates verified") == 3
    assert "Not to be known offline" in said
    assert "wardround contract verify 0x" in said
    said = audit(live_archive.with_name("round.zip"), capsys)
    assert "rounds before 2 are taken as they were recorded" in said
    assert said.count("signatures and updates verified") == 1


def test_overturned_round_is_in_the_index(cheated: tuple[World, str], live_archive: Path) -> None:
    made, _ = cheated
    reader = Reader(live_archive.with_name("index.sqlite"))
    found = next(one for one in list_studies(reader).rows if one.overturned)
    study = next(one for one in made.ward.events() if hex_of(one.study) == found.study).study
    state = made.ward.study(study)
    assert (found.head, found.overturned) == (state.head, 1)
    assert int(found.funds.slashed) == 50 * 10**18
    assert int(found.funds.bonds_held) + int(found.funds.slashed) + int(
        found.funds.bonds_released
    ) == int(found.funds.bonds_posted)
    detail = read_study(reader, found.study)
    assert detail.coordinator == state.coordinator.lower()
    assert {one.contributions for one in detail.members} == {3}
    barred = [one for one in detail.seats if one.barred]
    assert [one.address for one in barred] == [made.parties.first.address.lower()]
    second = read_round(reader, found.study, 2)
    assert second.summary.state in ("closed", "final")
    assert second.summary.coordinator == made.parties.standby.address.lower()
    (other,) = second.others
    assert other.state == "overturned"
    assert other.overturned_by is not None
    assert {event.name for event in second.events} >= {"CoordinateProven", "Overturned"}
    assert read_round(reader, found.study, 2, other.commitment).summary == other
    reader.close()


def test_search_for_what_was_overturned_leads_there_and_not_to_what_stands(
    live_archive: Path,
) -> None:
    reader = Reader(live_archive.with_name("index.sqlite"))
    study = next(one.study for one in list_studies(reader).rows if one.overturned)
    second = read_round(reader, study, 2)
    (gone,) = second.others
    explorer = Explorer(reader, None)
    stands = urls.round_page(study, 2)
    # What the cheat changed is of one closing alone, and so is the commitment.
    for asked in (gone.commitment, gone.model):
        page = search_page(explorer, asked).decode()
        assert "of round 2, overturned</a>" in page
        assert f'href="{urls.round_page(study, 2, gone.block_hash)}"' in page
        assert f'href="{stands}"' not in page
    page = search_page(explorer, second.summary.commitment).decode()
    assert "overturned</a>" not in page
    assert f'href="{stands}"' in page
    reader.close()


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def changed_lines(change: Callable[[dict[str, Any]], None], place: int) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        lines = [json.loads(line) for line in data.splitlines()]
        change(lines[place])
        return b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    return apply


def set_raw(line: dict[str, Any]) -> None:
    line["raw"] = line["raw"][:-2] + ("00" if line["raw"][-2:] != "00" else "01")


def set_log(line: dict[str, Any]) -> None:
    line["logs"][-1]["data"] = line["logs"][-1]["data"][:-2] + "77"


def set_state_root(line: dict[str, Any]) -> None:
    line["header"]["stateRoot"] = "0x" + "ab" * 32


def set_receipt(line: dict[str, Any]) -> None:
    line["receipts"][0]["status"] = "0x0"


ALTERATIONS: list[tuple[str, Callable[[bytes], bytes | None]]] = [
    ("chain/transactions.jsonl", changed_lines(set_raw, -1)),
    ("chain/transactions.jsonl", changed_lines(set_log, -1)),
    ("chain/transactions.jsonl", lambda data: b"".join(data.splitlines(True)[::-1])),
    ("chain/transactions.jsonl", lambda data: data[:-40]),
    ("chain/transactions.jsonl", lambda data: b"[]\n"),
    ("chain/transactions.jsonl", lambda data: None),
    ("chain/blocks.jsonl", changed_lines(set_state_root, 0)),
    ("chain/blocks.jsonl", changed_lines(set_receipt, 0)),
    ("chain/blocks.jsonl", lambda data: b"".join(data.splitlines(True)[:-1])),
    ("evidence.json", lambda data: data.replace(b"wardround-evidence/1", b"other")),
    ("evidence.json", lambda data: data.replace(b'"wardround/2"', b'"wardround/1"')),
    ("evidence.json", lambda data: data.replace(b'"chain_id": 31337', b'"chain_id": 1')),
    ("evidence.json", lambda data: b"{"),
    ("evidence.json", lambda data: None),
    ("journal.jsonl", lambda data: flip(data, len(data) // 2)),
    ("journal.jsonl", lambda data: b"".join(data.splitlines(True)[:-1])),
]


@pytest.mark.parametrize(("name", "change"), ALTERATIONS)
@pytest.mark.parametrize("kind", ["run", "live"])
def test_altered_archive_does_not_hold(
    archive: Path,
    live_archive: Path,
    tmp_path: Path,
    kind: str,
    name: str,
    change: Callable[[bytes], bytes | None],
) -> None:
    path = archive if kind == "run" else live_archive
    with zipfile.ZipFile(path) as opened:
        if name not in opened.namelist():
            pytest.skip("this kind of archive has no such entry")
    other = rewritten(
        path, tmp_path / "other.zip", lambda one, data: change(data) if one == name else data
    )
    with pytest.raises(WardroundError):
        audit_archive(other, Findings(as_json=True), Depth())


def test_altered_or_missing_object_does_not_hold(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        objects = [name for name in opened.namelist() if name.startswith("objects/")]
    for name in objects[:: max(1, len(objects) // 4)]:
        for change in (lambda data: flip(data, len(data) // 2), lambda data: None):
            other = rewritten(
                archive,
                tmp_path / "other.zip",
                lambda one, data, name=name, change=change: change(data) if one == name else data,  # type: ignore[misc]
            )
            with pytest.raises(WardroundError):
                audit_archive(other, Findings(as_json=True), Depth())


# ---------------------------------------------------------------- archives built to do harm


def test_coordinators_that_the_studys_id_does_not_name_are_refused(archive: Path) -> None:
    with Archive(archive) as opened:
        study = ArchivedStudy(opened)
    assert study.facts(study.study).params.study_id == study.study
    place = next(i for i, one in enumerate(study._events) if isinstance(one, StudyCreated))
    created: Any = study._events[place]
    study._events[place] = replace(created, parties=StudyParties.of([created.params.sponsor]))
    with pytest.raises(StudyMismatch, match="coordinators and auditors is 0x"):
        study.facts(study.study)


def test_names_that_lead_elsewhere_are_refused(archive: Path, tmp_path: Path) -> None:
    for name in ("../evil", "/etc/passwd", "objects/../../evil", "chain\\blocks.jsonl", "x.py"):
        path = tmp_path / "evil.zip"
        shutil.copy(archive, path)
        with zipfile.ZipFile(path, "a") as opened:
            opened.writestr(name, b"evil")
        with pytest.raises(ProtocolError, match="does not belong"):
            Archive(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_that_stand_twice_are_refused(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    shutil.copy(archive, path)
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("evidence.json", b"{}")
    with pytest.raises(ProtocolError, match="does not belong"):
        Archive(path)


def test_bombs_are_refused_unopened(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("evidence.json", bytes(64 << 20))
    with pytest.raises(ProtocolError, match="unpacks to far more"):
        Archive(path)


def test_sizes_that_lie_are_found(archive: Path, tmp_path: Path) -> None:
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        size = opened.getinfo("evidence.json").file_size
    # In the central directory, where it is read from: a smaller size than there is.
    place = data.rindex(b"evidence.json") - 46 + 24
    assert struct.unpack_from("<I", data, place) == (size,)
    struct.pack_into("<I", data, place, size - 9)
    path = tmp_path / "lie.zip"
    path.write_bytes(data)
    with pytest.raises(ProtocolError):
        Archive(path)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x05\x06", b"not a zip" * 100, b"PK\x03\x04" + bytes(99)]
)
def test_other_files_are_no_archives(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.zip"
    path.write_bytes(data)
    with pytest.raises(ProtocolError):
        Archive(path)


def test_cut_archives_are_refused(archive: Path, tmp_path: Path) -> None:
    data, path = archive.read_bytes(), tmp_path / "cut.zip"
    for part in range(1, 8):
        path.write_bytes(data[: len(data) * part // 8])
        with pytest.raises(ProtocolError):
            Archive(path)


# ---------------------------------------------------------------- commands


def run(*words: str) -> Any:
    return CliRunner().invoke(app, words, catch_exceptions=True)


def test_commands_lead_from_a_run_to_a_verified_archive(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "evidence.zip"
    done = run("export", str(run_folder), "--round", "2", "-o", str(path))
    assert done.exit_code == 0, done.output
    assert "wardround audit" in done.output
    done = run("audit", str(path))
    assert done.exit_code == 0, done.output
    listed = run("events", str(run_folder), "--json", "--name", "RoundClosed", "--round", "2")
    rows = [json.loads(line) for line in listed.stdout.splitlines() if line.startswith("{")]
    assert [(row["name"], row["round"]) for row in rows] == [("RoundClosed", 2)]
    nothing = run("events", str(run_folder), "--name", "TookOver")
    assert "0 events in blocks 0 to 19" in nothing.output
    named = run("events", str(run_folder), "--site", "site-1", "--from-block", "18")
    assert named.output.count("Contributed") == 2
    picture = run("watch", str(run_folder))
    assert picture.exit_code == 0
    assert "3/3" in picture.output
    assert isinstance(run("events", str(run_folder), "--name", "Nothing").exception, WardroundError)
    assert run("events", str(run_folder), "--follow").exit_code == 2
    assert isinstance(run("events", str(tmp_path)).exception, WardroundError)
    assert isinstance(
        run("export", str(run_folder), "--round", "9", "-o", "x").exception, WardroundError
    )
