"""Start programs, start them again when they die, and end them all together."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from wardround.host.backoff import pauses
from wardround.host.log import rotated
from wardround.transport.processes import ProcessMark, end_all, mark_of, with_descendants

#: A program that ran this long is not failing to start.
_STEADY_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 1.0, 60.0
_STOP_SECONDS = 15.0

#: Shows a person what happens.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """A program to keep running.

    Attributes:
        name: for people, as in "the guard".
        command: called for every start.
        log: its output, rotated: `wardround.host.log.FILE_MAX_BYTES` in each file.
        environment: in place of this process's own.
        once: its end with status 0 is no fault.
        secret: what it reads from its standard input at every start; nothing by default.
    """

    name: str
    command: Callable[[], Sequence[str]]
    log: Path
    environment: Mapping[str, str] | None = None
    once: bool = False
    secret: bytes = field(default=b"", repr=False)


def module_command(module: str, *arguments: str) -> list[str]:
    """A command that runs a module of ours, which ends when this process does."""
    return [sys.executable, "-m", "wardround.host.lifeline", module, *arguments]


@dataclass
class Supervisor:
    """Keeps programs running; call `look` now and then."""

    say: Say
    _kept: list[_Supervised] = field(default_factory=list)

    def start(self, program: Program) -> None:
        """Start a program and keep it running."""
        kept = _Supervised(program)
        kept.start()
        self._kept.append(kept)

    def look(self) -> None:
        """Start again what has died, after a pause that doubles each time."""
        for kept in self._kept:
            words = kept.look()
            if words:
                self.say(words)

    def is_running(self, name: str) -> bool:
        """Whether a program is running now."""
        return any(kept.program.name == name and kept.is_running for kept in self._kept)

    def ended(self, name: str) -> bool:
        """Whether a program that runs once has done its work."""
        return any(kept.program.name == name and kept.done for kept in self._kept)

    def failures(self, name: str) -> int:
        """How often a program has ended with a failing status, not by a signal."""
        return sum(kept.failures for kept in self._kept if kept.program.name == name)

    @property
    def marks(self) -> dict[str, ProcessMark]:
        """The running programs by name."""
        return {kept.program.name: kept.mark for kept in self._kept if kept.mark is not None}

    def forget(self, name: str) -> None:
        """End a program and no longer keep it."""
        for kept in [one for one in self._kept if one.program.name == name]:
            kept.stop()
            self._kept.remove(kept)

    def stop(self) -> None:
        """End everything, the last started first."""
        for kept in reversed(self._kept):
            kept.stop()
        self._kept.clear()


class _Supervised:
    """A program and its process."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.done = False
        self.failures = 0
        self.mark: ProcessMark | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._started = 0.0
        self._pauses = pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        self._again_at: float | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self._again_at = None
        self._started = time.monotonic()
        environment = self.program.environment
        with _readable(self.program.secret) as stdin:
            self._process = self._started_with(stdin, environment)
        self.mark = mark_of(self._process.pid)
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _started_with(
        self, stdin: int, environment: Mapping[str, str] | None
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.program.command(),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            start_new_session=True,  # an interrupt from the terminal leaves its end to us
        )

    def look(self) -> str | None:
        if self.done or self._process is None:
            return None
        now = time.monotonic()
        if self._again_at is not None:
            if now >= self._again_at:
                self.start()
            return None
        if not self._has_ended():
            if now - self._started > _STEADY_SECONDS:
                self._pauses = pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
            return None
        self._end_group()
        status = self._process.wait()
        self.failures += status > 0
        if status == 0 and self.program.once:
            self.done = True
            return None
        pause = next(self._pauses)
        self._again_at = now + pause
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"{self.program.name} {how}; starting it again in {pause:.2g} s"

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        self._again_at, self.done = None, True
        below = with_descendants([process.pid])
        if process.returncode is None:
            if not self._has_ended():
                process.terminate()
            deadline = time.monotonic() + _STOP_SECONDS
            while not self._has_ended() and time.monotonic() < deadline:
                time.sleep(0.05)
            self._end_group()
        # Also those that left the group: some of Flower's processes do.
        end_all(below, 2.0)
        process.wait()
        if self._reader is not None:
            self._reader.join(2.0)

    def _has_ended(self) -> bool:
        """Whether the program has ended, without taking its status: so its number stays its own."""
        assert self._process is not None
        if self._process.returncode is not None:
            return True
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is not None

    def _end_group(self) -> None:
        """End what a dead program left behind in its process group."""
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines, closing(rotated(self.program.log)) as log:
            for raw in lines:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                log.handle(logging.makeLogRecord({"msg": line}))


@contextmanager
def _readable(secret: bytes) -> Iterator[int]:
    """Give a descriptor that a program reads a few bytes from, and no other process can.

    A socket, because Linux lets every process of the user open another one's pipe by its place in
    /proc.
    """
    if not secret:
        yield subprocess.DEVNULL
        return
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(secret)
        ours.shutdown(socket.SHUT_WR)
        yield theirs.fileno()


@contextmanager
def stop_asked() -> Iterator[threading.Event]:
    """Turn SIGTERM and SIGINT into an event for the length of a block."""
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
