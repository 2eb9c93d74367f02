"""Real processes: started, killed, started again, and ended with all that they started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from wardround.host import log
from wardround.transport import supervision
from wardround.transport.processes import ProcessMark, end_all, mark_of, running, with_descendants
from wardround.transport.supervision import (
    Program,
    Supervisor,
    module_command,
    stop_asked,
)

WAIT_SECONDS = 20.0


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


@pytest.fixture
def supervisor() -> supervision.Supervisor:
    return Supervisor(lambda words: None)


def test_program_that_is_killed_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_FIRST_PAUSE_SECONDS", 0.05)
    said: list[str] = []
    supervisor = Supervisor(said.append)
    sleeper = python("import time; print('here'); time.sleep(60)")
    supervisor.start(Program("sleeper", lambda: sleeper, tmp_path / "log"))
    try:
        first = supervisor.marks["sleeper"]
        until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text())
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: supervisor.look() or supervisor.marks["sleeper"] != first)
        until(lambda: supervisor.is_running("sleeper"))
        assert [words.split(" in ")[0] for words in said] == [
            "sleeper was killed by signal 9; starting it again"
        ]
        until(lambda: (tmp_path / "log").read_text().count("here") == 2)
    finally:
        supervisor.stop()
    assert running([first]) == []


def test_pauses_grow_while_a_program_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_FIRST_PAUSE_SECONDS", 0.01)
    said: list[str] = []
    supervisor = Supervisor(said.append)
    supervisor.start(Program("broken", lambda: python("exit(3)"), tmp_path / "log"))
    try:
        until(lambda: supervisor.look() or len(said) >= 3)
    finally:
        supervisor.stop()
    found = [re.fullmatch(r"broken .* status 3; starting it again in (.+) s", w) for w in said[:3]]
    paused = [float(one[1]) for one in found if one is not None]
    assert len(paused) == 3
    assert all(earlier < later for earlier, later in pairwise(paused))


def test_program_that_runs_once_is_done(tmp_path: Path, supervisor: Supervisor) -> None:
    program = Program("once", lambda: python("print('a')"), tmp_path / "log", once=True)
    supervisor.start(program)
    until(lambda: supervisor.look() or supervisor.ended("once"))
    supervisor.stop()
    assert (tmp_path / "log").read_text() == "a\n"


def test_stop_ends_what_a_program_started(tmp_path: Path, supervisor: Supervisor) -> None:
    """One child in the program's group, and one that left it; a program deaf to SIGTERM."""
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for new in (False, True):\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=new)\n"
        "print('ready')\n"
        "time.sleep(60)\n"
    )
    supervisor.start(Program("parent", lambda: python(code), tmp_path / "log"))
    until(lambda: (tmp_path / "log").exists() and "ready" in (tmp_path / "log").read_text())
    below = with_descendants([supervisor.marks["parent"].pid])
    assert len(below) == 3
    os.kill(below[0].pid, signal.SIGKILL)  # so that the test need not wait for patience to end
    supervisor.stop()
    until(lambda: running(below) == [] or end_left(below))


def end_left(below: list[ProcessMark]) -> bool:
    """The child that left the group has no parent once that was killed; see the lifeline."""
    left = running(below)
    assert len(left) <= 1
    end_all(left, 5)
    return False


def test_child_ends_with_its_parent(tmp_path: Path) -> None:
    module = tmp_path / "sleeper_module.py"
    module.write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    command = module_command("sleeper_module")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    code = f"import subprocess, time; subprocess.Popen({command!r}); time.sleep(60)"
    with subprocess.Popen(
        python(code), env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        child = with_descendants([parent.pid])[1]
        parent.kill()
        until(lambda: running([child]) == [])


def test_process_is_not_taken_for_another_with_its_number() -> None:
    mark = mark_of(os.getpid())
    assert mark is not None
    assert running([mark]) == [mark]
    other = ProcessMark(mark.pid, 0.0)
    assert running([other]) == []
    assert end_all([other], 1) == [], "or this test would have ended"


def test_deaf_process_is_forced(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(60)"
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        mark = mark_of(process.pid)
        assert mark is not None
        assert end_all([mark], 0.3) == [mark]


def test_signal_asks_to_stop() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_asked() as asked:
        assert not asked.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_log_is_turned_over_when_long(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "FILE_MAX_BYTES", 1000)
    code = "[print(number, 'x' * 50) for number in range(100)]"
    supervisor.start(Program("talker", lambda: python(code), tmp_path / "log", once=True))
    until(lambda: supervisor.look() or supervisor.ended("talker"))
    supervisor.stop()
    assert (tmp_path / "log").read_text().splitlines()[-1].startswith("99 ")
    assert (tmp_path / "log").stat().st_size < 1200
    assert (tmp_path / "log.1").stat().st_size < 1200
