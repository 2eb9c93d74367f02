"""Processes that one of ours started, known by more than their number.

The system reuses process ids. A process is therefore named by its id and the time it started, and
nothing is ever ended on the id alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

_POLL_SECONDS = 0.1
#: The system computes start times from a clock that may be set.
_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True)
class ProcessMark:
    """A process: its id, and when it started, in seconds since 1970."""

    pid: int
    started: float


def mark_of(pid: int) -> ProcessMark | None:
    """Name a running process; None when there is none, or only a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessMark(pid, process.create_time())
    except psutil.NoSuchProcess:
        return None


def running(marks: Iterable[ProcessMark]) -> list[ProcessMark]:
    """Those of some processes that still run."""
    found = ((mark, mark_of(mark.pid)) for mark in marks)
    return [
        mark
        for mark, now in found
        if now is not None and abs(now.started - mark.started) <= _TOLERANCE_SECONDS
    ]


def with_descendants(pids: Iterable[int]) -> list[ProcessMark]:
    """Some processes and everything that they started, parents first."""
    found: list[ProcessMark] = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                mark = mark_of(one.pid)
                if mark is not None and mark not in found:
                    found.append(mark)
    return found


def end_all(marks: Iterable[ProcessMark], patience_seconds: float) -> list[ProcessMark]:
    """Ask processes to end, and kill those that have not by then.

    Returns:
        Those that were killed.
    """
    left = running(marks)
    for mark in left:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(mark.pid).terminate()
    deadline = time.monotonic() + patience_seconds
    # Not psutil's own wait, which would take the exit status of our children.
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = running(left)
    for mark in left:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(mark.pid).kill()
    while running(left):
        time.sleep(_POLL_SECONDS)
    return left
