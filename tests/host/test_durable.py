from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wardround.host.durable import append_line, move, replacing, write_durably, write_private


def modes(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    write_durably(path, "Zürich")
    assert path.read_text("utf-8") == "Zürich"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_old_version_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half of the n")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["folder", "missing/file"])
def test_an_error_names_the_file_and_not_its_part(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory") as failed:
        write_durably(tmp_path / name, b"new")
    assert failed.value.filename == str(tmp_path / name)
    assert failed.value.filename2 is None
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_old_version_stays_when_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom wardround.host.durable import replacing\n"
        "with replacing(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half of the n'); file.flush(); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, path]).returncode == -9
    assert path.read_bytes() == b"old"


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_private(path, "secret")
    with pytest.raises(FileExistsError) as caught:
        write_private(path, "another")
    assert caught.value.filename == str(path)
    assert path.read_text() == "secret"
    assert modes(path) == 0o600


def test_another_process_that_was_faster_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(FileExistsError), replacing(path, new=True) as file:
        path.write_bytes(b"theirs")
        file.write(b"ours")
    assert path.read_bytes() == b"theirs"


def test_files_and_folders_are_synced_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs Linux's /proc")
    monkeypatch.setattr(os, "fsync", noted)
    write_durably(tmp_path / "file", b"1")
    assert synced[0].startswith(".file.")
    assert synced[1:] == [tmp_path.name]
    move(tmp_path / "file", tmp_path / "other")
    append_line(tmp_path / "other", b"2")
    assert synced[2:] == [tmp_path.name, "other"]


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"", b"new\n"), (b"one\n", b"one\nnew\n"), (b"one\nha", b"one\nha\nnew\n")],
)
def test_a_line_starts_on_its_own(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "lines"
    if before:
        path.write_bytes(before)
    append_line(path, b"new", mode=0o600)
    assert path.read_bytes() == after
    if not before:
        assert modes(path) == 0o600
