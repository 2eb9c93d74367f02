"""Processes that replay rounds ahead of an audit, and tell it of each one only whether it holds.

A process is forked, so it has all that the audit has read by then, and one byte is all that comes
back. Of a round of which it tells nothing the audit finds out itself: what is wrong with it, and
what its coordinator could not help, is put into words in one place, by one process, in order.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from multiprocessing.connection import Connection

from wardround.store import Store

#: Each holds a few models in memory.
MAX_JOBS = 256
_HOLDS = b"\x01"
_UNDECIDED = b"\x00"
#: Judges rounds, ascending from 0: whether each holds.
Judge = Callable[[Sequence[int]], Iterator[bool]]


def cores() -> int:
    """How many processors this process may use, at most as many as an audit takes."""
    if sys.platform == "linux":
        return min(MAX_JOBS, len(os.sched_getaffinity(0)))
    return min(MAX_JOBS, os.cpu_count() or 1)


def offered(store: Store) -> int:
    """How many processes may share the rounds of a study in this store."""
    return 1 if hindrance(store) else cores()


def hindrance(store: Store) -> str | None:
    """Why rounds of a study in this store can be replayed by this process alone; None if not so."""
    if not store.is_forkable:
        return "only a store of folders can be read by several processes"
    if sys.platform != "linux":
        return "only Linux forks a process safely"
    if threading.active_count() > 1:
        # A lock that another thread holds would never be released in the child.
        return "this process has other threads"
    return None


class Replayers:
    """Processes that judge rounds, each every so many-th one."""

    def __init__(self, answers: Sequence[Connection]) -> None:
        self._answers = answers

    def holds(self, place: int) -> bool:
        """Wait for the answer on a round; ask about each once, ascending from 0.

        Returns:
            False where the audit must replay it itself.
        """
        try:
            return self._answers[place % len(self._answers)].recv_bytes() == _HOLDS
        except (EOFError, OSError):
            return False  # the process has ended: for want of memory, or of a round before this


@contextmanager
def replayers(jobs: int, rounds: int, judge: Judge) -> Iterator[Replayers]:
    """Start processes, and end them with the block.

    Args:
        jobs: how many, at least one.
        rounds: how many there are to judge.
        judge: runs in each of them.
    """
    forks = multiprocessing.get_context("fork")
    with ExitStack() as stack:
        answers = []
        for first in range(jobs):
            answer, told = forks.Pipe(duplex=False)
            stack.enter_context(closing(answer))
            places = range(first, rounds, jobs)
            child = forks.Process(target=_work, args=(told, places, judge), daemon=True)
            with warnings.catch_warnings():
                # Python 3.12 warns of threads in libraries; those of OpenBLAS prepare for a fork.
                warnings.simplefilter("ignore", DeprecationWarning)
                child.start()
            stack.callback(child.join)
            stack.callback(child.terminate)
            told.close()
            answers.append(answer)
        yield Replayers(answers)


def _work(told: Connection, places: Sequence[int], judge: Judge) -> None:
    # The terminal's Ctrl-C reaches every process; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What stops it here meets the audit as well, which has the words for it.
    with suppress(Exception):
        for holds in judge(places):
            told.send_bytes(_HOLDS if holds else _UNDECIDED)
