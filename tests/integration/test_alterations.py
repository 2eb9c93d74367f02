"""Whatever byte of a finished run is altered: the audit fails and names what it is in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.networks import copied
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import FinishedRun, note_journal, open_run
from wardround.devchain.errors import JournalAltered
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.errors import ProtocolError, SpecificationError, WardroundError
from wardround.protocol.identifiers import hex_of
from wardround.store.errors import ObjectAltered, ObjectMissing
from wardround_simulations.network import Folders

HOLDS = [1, 2, 3]


def audit(run: FinishedRun) -> list[int]:
    """Do what `wardround audit` does."""
    work = StudyAudit(run.contract, run.study, run.store)
    rounds = [one.closed.round for one in work.rounds()]
    work.check_objects()
    return rounds


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that each test puts back into its first state."""
    return copied(finished, tmp_path_factory.mktemp("altered") / "run")


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[FinishedRun]:
    with open_run(folder) as run:
        yield run


def objects_of(run: FinishedRun) -> dict[str, str]:
    """Name every object that the chain leads to, by its CID: what it is."""
    work = StudyAudit(run.contract, run.study, run.store)
    found = {cid_from_sha256(work.facts.params.specification): "specification"}
    for audited in work.rounds():
        manifest = audited.manifest
        found[manifest.base.cid] = found[manifest.model.cid] = "model"
        found[cid_from_sha256(audited.record.manifest)] = "manifest"
        for row in manifest.contributions:
            found |= {row.update.cid: "update", row.report.cid: "report"}
    return found


def test_objects_when_counted_are_all_that_the_store_has(opened: FinishedRun) -> None:
    kinds = list(objects_of(opened).values())
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counts == {"specification": 1, "model": 4, "manifest": 3, "update": 9, "report": 9}
    assert sorted(opened.store.cids()) == sorted(objects_of(opened))
    assert audit(opened) == HOLDS


ALTERATIONS: dict[str, Callable[[bytes], bytes]] = {
    "first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "a byte inside": lambda data: data[: len(data) // 2] + b"\xa5" + data[len(data) // 2 + 1 :],
    "last bit": lambda data: data[:-1] + bytes([data[-1] ^ 128]),
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "turned": lambda data: data[::-1],
}


@pytest.mark.parametrize("how", ALTERATIONS)
def test_every_object_when_altered_is_named(opened: FinishedRun, how: str) -> None:
    for cid, kind in objects_of(opened).items():
        path = opened.folders.store / cid
        data = path.read_bytes()
        altered = ALTERATIONS[how](data)
        assert altered != data
        path.write_bytes(altered)
        try:
            with pytest.raises(WardroundError) as failure:
                audit(opened)
        finally:
            path.write_bytes(data)
        assert cid in str(failure.value), f"{kind}: {failure.value}"
    assert audit(opened) == HOLDS


def test_every_object_when_any_one_byte_is_altered_is_named(opened: FinishedRun) -> None:
    """Some byte of each object, another one for each, so that all kinds of places are hit."""
    for place, (cid, kind) in enumerate(objects_of(opened).items()):
        path = opened.folders.store / cid
        data = bytearray(path.read_bytes())
        at = (place * 37) % len(data)
        data[at] ^= 1 + place % 255
        path.write_bytes(data)
        try:
            with pytest.raises(ObjectAltered) as failure:
                audit(opened)
        finally:
            data[at] ^= 1 + place % 255
            path.write_bytes(data)
        assert failure.value.cid == cid, kind
    assert audit(opened) == HOLDS


def test_every_object_when_missing_is_named(opened: FinishedRun) -> None:
    for cid, kind in objects_of(opened).items():
        path = opened.folders.store / cid
        path.rename(path.with_name("away"))
        try:
            with pytest.raises(ObjectMissing) as failure:
                audit(opened)
        finally:
            path.with_name("away").rename(path)
        assert failure.value.cid == cid, kind
    assert audit(opened) == HOLDS


def test_objects_when_exchanged_are_named(opened: FinishedRun) -> None:
    updates = [cid for cid, kind in objects_of(opened).items() if kind == "update"]
    first, second = (opened.folders.store / cid for cid in updates[:2])
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    try:
        with pytest.raises(ObjectAltered) as failure:
            audit(opened)
    finally:
        first.write_bytes(one)
        second.write_bytes(other)
    assert failure.value.cid in updates[:2]


# ---------------------------------------------------------------------------------- journal


def journal_lines(folder: Path) -> list[bytes]:
    return (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)


def refusal(folder: Path, data: bytes) -> JournalAltered:
    """Put other bytes in the journal's place, open the run, and return the error."""
    path = folder / "journal.jsonl"
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        with pytest.raises(JournalAltered) as failure, open_run(folder):
            pytest.fail("it was opened")
    finally:
        path.write_bytes(before)
    assert str(path) in str(failure.value)
    return failure.value


def positions(line: bytes) -> list[int]:
    """Places all over a line: brackets, names, numbers, hexadecimal, digests, its very end."""
    last = len(line) - 1
    spread = [round(last * part / 8) for part in range(9)]
    names = [line.index(name) + 1 for name in (b'"digest"', b'"timestamp"')]
    inside = [line.index(b'"0x') + 3] if b'"0x' in line else []
    return sorted({0, 1, last - 2, last - 1, last, *spread, *names, *inside})


def test_every_line_of_the_journal_when_a_byte_is_flipped_is_named(folder: Path) -> None:
    lines = journal_lines(folder)
    assert len(lines) > 10
    start = 0
    data = b"".join(lines)
    for number, line in enumerate(lines, 1):
        for at in positions(line):
            altered = bytearray(data)
            altered[start + at] ^= 0b101
            failure = refusal(folder, bytes(altered))
            assert failure.line == number, f"byte {at} of line {number}: {failure}"
        start += len(line)
    with open_run(folder) as run:
        assert audit(run) == HOLDS


def test_every_line_of_the_journal_when_a_letters_case_is_changed_is_named(folder: Path) -> None:
    """Hexadecimal means the same in capitals, and still is another byte."""
    lines = journal_lines(folder)
    for number, line in enumerate(lines, 1):
        letters = [at for at, byte in enumerate(line) if chr(byte) in "abcdef" and at > 2]
        hexadecimal = [at for at in letters if line[: at + 1].rfind(b'"0x') >= 0]
        for at in (hexadecimal[0], hexadecimal[len(hexadecimal) // 2], hexadecimal[-1]):
            altered = line[:at] + line[at : at + 1].upper() + line[at + 1 :]
            assert altered != line
            failure = refusal(folder, b"".join([*lines[: number - 1], altered, *lines[number:]]))
            assert failure.line == number


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_journal_when_any_byte_is_altered_names_its_line(folder: Path, data: st.DataObject) -> None:
    whole = b"".join(journal_lines(folder))
    at = data.draw(st.integers(0, len(whole) - 1))
    altered = bytearray(whole)
    altered[at] ^= data.draw(st.integers(1, 255))
    assert refusal(folder, bytes(altered)).line == whole[:at].count(b"\n") + 1


def test_journal_when_whole_lines_are_missing_is_refused(folder: Path) -> None:
    lines = journal_lines(folder)
    for place in range(len(lines)):
        refusal(folder, b"".join(lines[:place] + lines[place + 1 :]))
    for count in (1, 2, len(lines) - 1, len(lines)):
        refusal(folder, b"".join(lines[: len(lines) - count]))
        refusal(folder, b"".join(lines[count:]))


def test_journal_when_lines_are_exchanged_or_repeated_is_refused(folder: Path) -> None:
    lines = journal_lines(folder)
    for place in range(1, len(lines) - 1):
        turned = [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]
        assert refusal(folder, b"".join(turned)).line == place + 1
        repeated = [*lines[: place + 1], *lines[place:]]
        assert refusal(folder, b"".join(repeated)).line == place + 2


def test_journal_when_cut_off_inside_its_last_line_says_so(folder: Path) -> None:
    lines = journal_lines(folder)
    failure = refusal(folder, b"".join(lines)[:-40])
    assert (failure.truncated, failure.line) == (True, len(lines))


def test_journal_when_missing_is_named(folder: Path) -> None:
    path = folder / "journal.jsonl"
    path.rename(folder / "away")
    try:
        with (
            pytest.raises(SpecificationError, match=r"journal\.jsonl: .*it is missing"),
            open_run(folder),
        ):
            pytest.fail("it was opened")
    finally:
        (folder / "away").rename(path)


def resealed(lines: list[bytes]) -> bytes:
    """Write a journal whose every digest is right, as a patient attacker would."""
    digest, out = bytes(32), []
    for line in lines:
        document = {key: value for key, value in json.loads(line).items() if key != "digest"}
        digest = sha256(digest + canonical_bytes(document)).digest()
        out.append(canonical_bytes({**document, "digest": hex_of(digest)}) + b"\n")
    return b"".join(out)


def altered_field(line: bytes, field: str, change: Callable[[Any], Any]) -> bytes:
    document = json.loads(line)
    return canonical_bytes({**document, field: change(document[field])})


def flipped(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


@pytest.mark.deep
def test_journal_when_sealed_again_is_found_out_by_running_it(folder: Path, tmp_path: Path) -> None:
    """With all digests recomputed and their end noted, only the EVM can detect it, and it does."""
    lines = journal_lines(folder)
    copy = copied(folder, tmp_path / "run")
    for number in range(2, len(lines) + 1):
        for field, change in (("raw", flipped), ("logs", flipped), ("status", lambda s: 1 - s)):
            altered = list(lines)
            altered[number - 1] = altered_field(lines[number - 1], field, change)
            (copy / "journal.jsonl").write_bytes(resealed(altered))
            note_journal(Folders(copy))
            with pytest.raises(JournalAltered) as failure, open_run(copy):
                pytest.fail("it was opened")
            assert failure.value.line == number, f"{field} of line {number}"
    altered = list(lines)
    altered[-1] = altered_field(lines[-1], "timestamp", lambda seconds: seconds + 1)
    (copy / "journal.jsonl").write_bytes(resealed(altered))
    note_journal(Folders(copy))
    with pytest.raises(JournalAltered, match="logs something else"), open_run(copy):
        pytest.fail("it was opened")


def test_journal_of_another_run_when_put_in_its_place_is_refused(
    folder: Path, finished: Path, tmp_path: Path
) -> None:
    lines = journal_lines(folder)
    header = altered_field(lines[0], "timestamp", lambda seconds: seconds - 1)
    refusal(folder, resealed([header, *lines[1:]]))


# ----------------------------------------------------------------------------- network.json


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("study", "0x" + "00" * 32),
        ("contract", "0x" + "00" * 20),
        ("contract", "token"),
        ("journal", "0x" + "00" * 32),
        ("journal", 7),
        ("study", None),
        ("chain_id", "x"),
        ("more", 1),
    ],
)
def test_network_file_when_a_field_is_altered_is_refused(
    finished: Path, tmp_path: Path, field: str, value: Any
) -> None:
    copy = copied(finished, tmp_path / "run")
    document = json.loads((copy / "network.json").read_text("utf-8"))
    document[field] = document["token"] if value == "token" else value
    (copy / "network.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(WardroundError), open_run(copy) as run:
        audit(run)


@given(st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_network_file_when_any_byte_is_altered_is_refused_or_changes_nothing(
    folder: Path, data: st.DataObject
) -> None:
    path = folder / "network.json"
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(altered)
    try:
        with open_run(folder) as run:
            # Names of sites and the like are no part of what is proven.
            assert audit(run) == HOLDS
    except WardroundError:
        pass
    finally:
        path.write_bytes(whole)


def test_run_of_another_protocol_is_refused_by_name(finished: Path, tmp_path: Path) -> None:
    copy = copied(finished, tmp_path / "run")
    path = copy / "network.json"
    document = json.loads(path.read_text("utf-8"))
    # Files of the first protocol do not name it.
    former = {key: value for key, value in document.items() if key != "protocol"}
    for written in (former, {**document, "protocol": "wardround/1"}):
        path.write_text(json.dumps(written), "utf-8")
        words = "made by protocol wardround/1, which this version does not read"
        with pytest.raises(ProtocolError, match=words), open_run(copy):
            pass


def test_store_when_it_holds_more_than_the_study_is_read_all_the_same(
    finished: Path, tmp_path: Path
) -> None:
    copy = copied(finished, tmp_path / "run")
    with open_run(copy) as run:
        cid = run.store.put(b"something else")
        assert audit(run) == HOLDS
        (copy / "store" / cid).write_bytes(b"something other")
        with pytest.raises(ObjectAltered) as failure:
            audit(run)
        assert failure.value.cid == cid


def test_store_when_it_is_gone_names_the_first_object(finished: Path, tmp_path: Path) -> None:
    copy = copied(finished, tmp_path / "run")
    shutil.rmtree(copy / "store")
    with pytest.raises(ObjectMissing), open_run(copy) as run:
        audit(run)
