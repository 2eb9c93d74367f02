"""What another process of the site's user reads of a command's memory, and how the command ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.calling import Call

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can close memory")

ROOT = Path(__file__).resolve().parents[2]

_PEEK = """
import ctypes, os, sys
from wardround_client.private_memory import keep_memory_private
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
(said, say), (go, let) = os.pipe(), os.pipe()
place = ctypes.create_string_buffer(7)
started = os.fork()
if not started:
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
    os.write(say, b"."); os.read(go, 1)
    if sys.argv[1] == "private":
        keep_memory_private()
    place.value = b"secret"
    os.write(say, b"%d" % os.getpid()); os.read(go, 1); os._exit(0)
os.read(said, 1)
opened = os.open(f"/proc/{started}/mem", os.O_RDONLY)
os.write(let, b".")
holder = int(os.read(said, 20))
print(os.pread(opened, 6, ctypes.addressof(place)).decode().strip("\\0") or "nothing")
for pid in (started, holder):
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY)); print("open")
    except PermissionError:
        print("closed")
os.write(let, b"."); os.waitpid(started, 0)
"""


@pytest.mark.parametrize(
    ("how", "read"),
    [("private", ["nothing", "closed", "closed"]), ("plain", ["secret", "open", "open"])],
)
def test_memory_when_it_was_opened_at_the_start_shows_no_later_secret(
    how: str, read: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PEEK, how],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.split() == read


_TRACED = """
import ctypes, os
from wardround_client.private_memory import keep_memory_private
libc, (go, let) = ctypes.CDLL(None, use_errno=True), os.pipe()
child = os.fork()
if not child:
    os.read(go, 1)
    try:
        keep_memory_private()
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
assert libc.ptrace(0x4206, child, 0, 0) == 0  # PTRACE_SEIZE
os.write(let, b"."); os.waitpid(child, 0)
"""


def test_memory_when_another_process_traces_this_one_holds_no_secret() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TRACED],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "traces this command" in done.stdout


_COMMAND = """
import os, signal, sys
from wardround_client.private_memory import keep_memory_private
keep_memory_private()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print(os.getpid(), flush=True)
signal.pause()
"""


@contextmanager
def command() -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A command that waits: the process that was started, and the one in which it goes on."""
    with subprocess.Popen(
        [sys.executable, "-c", _COMMAND], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None
            yield started, psutil.Process(int(started.stdout.readline()))
        finally:
            started.kill()


def test_command_in_private_memory_ends_as_it_would_without() -> None:
    with command() as (started, forked):
        assert forked.ppid() == started.pid
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == 7
    with command() as (started, forked):
        forked.kill()
        assert started.wait(20) == -signal.SIGKILL


def test_command_in_private_memory_when_the_started_process_is_killed_ends_too() -> None:
    with command() as (started, forked):
        started.kill()
        forked.wait(20)


def test_every_command_of_a_site_begins_by_keeping_its_memory_private(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[bool] = []
    monkeypatch.setattr(
        "wardround_client.private_memory.keep_memory_private", lambda: begun.append(True)
    )
    for name in ("approve", "policy", "init", "claim", "run"):
        call("site", name, "--help")
    assert len(begun) == 5
