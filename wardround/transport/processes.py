"""Processes that one of ours started, known by more than their number.

A process id is given anew to another program sooner or later. A process is therefore named by its
id and the time it started, and nothing is ever ended on the id alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class ProcessMark:
    """A process: its id, and when it started, in the words of ``ps``."""

    pid: int
    started: str


def mark_of(pid: int) -> ProcessMark | None:
    """Name a running process; None when there is none, or only its remains."""
    return next((mark for mark, _ in _listed() if mark.pid == pid), None)


def running(marks: Iterable[ProcessMark]) -> list[ProcessMark]:
    """Those of some processes that still run."""
    now = {mark for mark, _ in _listed()}
    return [mark for mark in marks if mark in now]


def with_descendants(pids: Iterable[int]) -> list[ProcessMark]:
    """Some processes and everything that they started, parents first."""
    children: dict[int, list[ProcessMark]] = {}
    known = {}
    for mark, parent in _listed():
        children.setdefault(parent, []).append(mark)
        known[mark.pid] = mark
    found = [known[pid] for pid in pids if pid in known]
    for mark in found:  # grows as it is read
        found += [child for child in children.get(mark.pid, []) if child not in found]
    return found


def end_all(marks: Iterable[ProcessMark], patience_seconds: float) -> list[ProcessMark]:
    """Ask processes to end, and force those that have not by then.

    Returns:
        Those that had to be forced.
    """
    left = running(marks)
    for mark in left:
        with suppress(ProcessLookupError):
            os.kill(mark.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_seconds
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = running(left)
    for mark in left:
        with suppress(ProcessLookupError):
            os.kill(mark.pid, signal.SIGKILL)
    while running(left):
        time.sleep(_POLL_SECONDS)
    return left


def _listed() -> list[tuple[ProcessMark, int]]:
    """List this machine's processes with their parents, dead ones left out."""
    command = ["ps", "-A", "-o", "pid=,ppid=,stat=,lstart="]
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC0"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = []
    for line in done.stdout.splitlines():
        pid, parent, state, started = line.split(maxsplit=3)
        if not state.startswith("Z"):
            found.append((ProcessMark(int(pid), started.strip()), int(parent)))
    return found
