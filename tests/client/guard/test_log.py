"""The guard's log: durable, chained, repaired after a crash, and an error by name otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround_client.errors import LogError
from wardround_client.guard.log import GuardLog, create_log, read_log

#: What a person is shown of a signature.
SIGNED = {"round": 1, "study": "0x" + "11" * 32, "weight": 1, "update_bytes": 4}


def made(folder: Path, lines: int = 3) -> Path:
    path = folder / "guard.log"
    create_log(path, 1, site="0x00")
    log = GuardLog(path, lambda: 2)
    for number in range(lines):
        log.append("signed", value=number, **SIGNED)
    log.close()
    return path


def test_log_when_read_again_holds_what_was_written(tmp_path: Path) -> None:
    path = made(tmp_path)
    lines = list(read_log(path))
    assert [line["kind"] for line in lines] == ["created", "signed", "signed", "signed"]
    assert [line["n"] for line in lines] == [1, 2, 3, 4]
    log = GuardLog(path, lambda: 3)
    assert [line["value"] for line in log.kept] == [0, 1, 2]
    log.append("refused", error="X", words="x")
    log.close()
    assert list(read_log(path))[-1]["error"] == "X"


def test_log_when_others_look_is_only_the_owners(tmp_path: Path) -> None:
    assert made(tmp_path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", [1, 2, 40, 100])
def test_log_when_its_last_line_is_torn_goes_on_without_it(tmp_path: Path, cut: int) -> None:
    path = made(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert len(list(read_log(path))) == 3
    log = GuardLog(path, lambda: 3)
    assert [line["value"] for line in log.kept] == [0, 1]
    log.append("signed", value=9, **SIGNED)
    log.close()
    lines = list(read_log(path))
    assert [line["kind"] for line in lines[3:]] == ["repaired", "signed"]
    assert lines[3]["bytes"] == len(whole.splitlines(keepends=True)[-1]) - cut


def altered(path: Path, line: int, change: bytes) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = change
    path.write_bytes(b"".join(lines))


def test_log_when_a_line_is_altered_names_it(tmp_path: Path) -> None:
    path = made(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    altered(path, 2, lines[1].replace(b'"value":0', b'"value":7'))
    # The line itself may be well formed: the next one tells.
    with pytest.raises(LogError, match="is damaged in line") as damage:
        GuardLog(path, lambda: 3)
    assert "line 3" in str(damage.value)


@pytest.mark.parametrize(
    "change", [b"\n", b"{}\n", b"\x00" * 50 + b"\n", b"[1]\n", b'{"kind":1}\n', b"{]\n"]
)
def test_log_when_a_line_is_none_names_it(tmp_path: Path, change: bytes) -> None:
    path = made(tmp_path)
    altered(path, 3, change)
    with pytest.raises(LogError, match="is damaged in line") as damage:
        list(read_log(path))
    assert "line 3" in str(damage.value)


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_log_when_a_line_is_gone_is_damaged(tmp_path: Path, gone: int) -> None:
    path = made(tmp_path)
    altered(path, gone, b"")
    with pytest.raises(LogError, match="is damaged in line"):
        GuardLog(path, lambda: 3)


@pytest.mark.parametrize("data", [b"", b"{"])
def test_log_when_its_first_line_is_gone_is_damaged(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "guard.log"
    path.write_bytes(data)
    with pytest.raises(LogError, match="is damaged in line"):
        GuardLog(path, lambda: 3)


def test_log_when_missing_is_never_begun_anew(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="is missing"):
        GuardLog(tmp_path / "guard.log", lambda: 3)
    assert list(tmp_path.iterdir()) == []


def test_log_when_another_guard_has_it_is_not_opened(tmp_path: Path) -> None:
    path = made(tmp_path)
    log = GuardLog(path, lambda: 3)
    with pytest.raises(LogError, match="in use"):
        GuardLog(path, lambda: 3)
    log.close()
    GuardLog(path, lambda: 3).close()


def test_log_when_a_line_is_too_long_refuses_it_whole(tmp_path: Path) -> None:
    path = made(tmp_path)
    log = GuardLog(path, lambda: 3)
    with pytest.raises(LogError, match="cannot be written"):
        log.append("refused", error="X", words="x" * 200_000)
    log.append("refused", error="X", words="short")
    log.close()
    assert len(list(read_log(path))) == 5


def test_log_when_the_disk_is_full_writes_nothing_more(tmp_path: Path) -> None:
    """A real full disk, as far as a limit on the size of files is one."""
    import resource
    import signal

    path = made(tmp_path)
    log = GuardLog(path, lambda: 3)
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, before[1]))
        with pytest.raises(LogError, match="cannot be written"):
            log.append("signed", value=5, **SIGNED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    # There is room again, but what is in the file is not known before it is read anew.
    with pytest.raises(LogError, match="cannot be written"):
        log.append("signed", value=6, **SIGNED)
    log.close()
    again = GuardLog(path, lambda: 4)
    assert [line["value"] for line in again.kept] == [0, 1, 2]
    again.append("signed", value=6, **SIGNED)
    again.close()
    assert list(read_log(path))[-1]["value"] == 6


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 600), st.integers(0, 3))
def test_log_when_bytes_are_put_anywhere_is_read_or_an_error_by_name(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, how: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    path = made(folder)
    whole = path.read_bytes()
    at = min(at, len(whole))
    inserted, over = whole[:at] + data + whole[at:], whole[:at] + data + whole[at + len(data) :]
    path.write_bytes([data, whole + data, inserted, over][how])
    try:
        values = [line.get("value") for line in read_log(path) if line["kind"] == "signed"]
    except LogError:
        return
    assert values == [0, 1, 2][: len(values)]
    log = GuardLog(path, lambda: 3)
    assert [line["value"] for line in log.kept] == values
    log.close()
