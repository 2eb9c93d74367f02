from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wardround.host import log
from wardround.host.log import EVENTS_FILE, EventLog, configure
from wardround.protocol.errors import Malformed


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    logger = logging.getLogger("wardround.part")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


def test_events_are_json_lines_with_an_errors_code(tmp_path: Path) -> None:
    part = configure(tmp_path, "part")
    part.info("begun")
    part.error(Malformed("round", "it is torn"))
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        part.exception("crashed")
    first, second, third = map(json.loads, (tmp_path / EVENTS_FILE).read_text().splitlines())
    assert {**first, "time": ""} == {
        "time": "", "level": "INFO", "logger": "wardround.part", "message": "begun",
    }  # fmt: skip
    assert first["time"].endswith("+00:00")
    assert second["code"] == Malformed.code
    assert second["message"] == "round is malformed: it is torn."
    assert "ZeroDivisionError" in third["traceback"]


def test_each_message_is_given_once_and_none_from_before(tmp_path: Path) -> None:
    part = configure(tmp_path, "part")
    part.info("long ago")
    events = EventLog(tmp_path)
    assert list(events.news()) == []
    part.info("one")
    with (tmp_path / EVENTS_FILE).open("ab") as file:
        file.write(b'{"message": "half a')
        file.flush()
        assert list(events.news()) == ["one"]
        file.write(b'n event"}\n')
    assert (list(events.news()), list(events.news())) == (["half an event"], [])


def test_a_log_that_begins_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    events = EventLog(tmp_path)
    assert list(events.news()) == []
    configure(tmp_path, "part").info("one")
    assert list(events.news()) == ["one"]


def test_rotation_loses_no_message_of_any_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "FILE_MAX_BYTES", 500)
    owner, onlooker = EventLog(tmp_path, rotates=True), EventLog(tmp_path)
    part = configure(tmp_path, "part")
    program = (
        "import sys\nfrom pathlib import Path\nfrom wardround.host.log import configure\n"
        "part = configure(Path(sys.argv[1]), 'other')\n"
        "for line in sys.stdin:\n    part.info(line.strip())\n    print('written', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdin is not None
        assert other.stdout is not None
        shown, seen = [], []
        for number in range(30):
            part.info(f"ours {number}")
            other.stdin.write(f"theirs {number}\n")
            other.stdin.flush()
            other.stdout.readline()
            seen += onlooker.news()
            shown += owner.news()
        other.stdin.close()
    expected = [f"{who} {number}" for number in range(30) for who in ("ours", "theirs")]
    assert shown == seen == expected
    files = list((tmp_path / EVENTS_FILE.parent).iterdir())
    # The file itself is made with the first line after a rotation.
    assert log.OLDER_FILES <= len(files) <= 1 + log.OLDER_FILES
    assert all(one.stat().st_size < 1000 for one in files)
