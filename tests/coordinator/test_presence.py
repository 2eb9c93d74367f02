"""A ServerApp that dies is missed at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround_coordinator.presence import GRACE_SECONDS, Presence, be_present

_PRESENT = """
import sys, time
from pathlib import Path
from wardround_coordinator.presence import be_present
be_present(Path(sys.argv[1]))
print("here", flush=True)
time.sleep(60)
"""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def present(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", _PRESENT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"here\n"
            yield process
        finally:
            process.kill()


def test_serverapp_when_it_has_not_come_yet_is_not_missed(tmp_path: Path) -> None:
    clock = Clock()
    presence = Presence(tmp_path / "lock", clock)
    assert not presence.is_lost()
    clock.now = 1000
    assert not presence.is_lost()


def test_serverapp_when_killed_is_missed_after_the_grace_and_not_before(tmp_path: Path) -> None:
    clock = Clock()
    presence = Presence(tmp_path / "lock", clock)
    with present(tmp_path / "lock") as process:
        assert not presence.is_lost()
        clock.now = 1000
        assert not presence.is_lost()
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    assert not presence.is_lost()
    clock.now += GRACE_SECONDS - 0.1
    assert not presence.is_lost()
    clock.now += 0.1
    assert presence.is_lost()


def test_next_serverapp_is_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    presence = Presence(tmp_path / "lock", clock)
    with present(tmp_path / "lock"):
        assert not presence.is_lost()
    assert not presence.is_lost()
    presence.expect()
    clock.now = 1000
    assert not presence.is_lost()
    with present(tmp_path / "lock"):
        assert not presence.is_lost()


def test_second_serverapp_starts_while_the_first_still_lives(tmp_path: Path) -> None:
    started = time.monotonic()
    with present(tmp_path / "lock"):
        os.close(be_present(tmp_path / "lock"))
    assert time.monotonic() - started < 30
