"""Processes that are killed and started again, quickly.

Each is forked from one process that has loaded everything and done nothing, so a restart takes
milliseconds where a fresh interpreter with PyTorch takes seconds: what is measured is the recovery
of the study. They end with the process that started them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from wardround.host.steps import Point, arm

_LOOK_SECONDS = 0.01
_STOP_SECONDS = 10.0
#: The last one is the command line, which a child of it would otherwise load again.
_PRELOADED = ["tests.chaos.bodies", "tests.chaos.play", "wardround"]

_context = multiprocessing.get_context("forkserver")


@dataclass
class Death:
    """One end of a process.

    Attributes:
        at: seconds on the clock that only grows.
        status: exit status; -9 when it was killed.
        point: the named point that it was set to die at.
    """

    at: float
    status: int
    point: Point | None


@dataclass
class Actor:
    """A process that should run.

    Attributes:
        name: for people.
        body: what it does, a function of a module.
        arguments: for it.
        log: its output.
        wanted: start it again when it ends.
        next_point: where the next start of it is to die.
    """

    name: str
    body: Callable[..., None]
    arguments: tuple[Any, ...]
    log: Path
    wanted: bool = True
    next_point: Point | None = None
    point: Point | None = None
    process: BaseProcess | None = None
    deaths: list[Death] = field(default_factory=list)
    finished: bool = False
    not_before: float = 0.0

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        alive = self.process is not None and self.process.is_alive()
        return self.process.pid if alive and self.process is not None else None

    def kill(self) -> bool:
        """Kill it as a power failure would; False when it was not there."""
        return self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it was not there."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it has just ended
            return False
        return True


class Troupe:
    """Keeps actors running, in a thread; stop it."""

    def __init__(self, pause_seconds: float = 0.1) -> None:
        """Start with no actor.

        Args:
            pause_seconds: between a death and the next start, as a supervisor would take.
        """
        _context.set_forkserver_preload(_PRELOADED)
        self.actors: dict[str, Actor] = {}
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="troupe", daemon=True)
        self._thread.start()

    def add(self, actor: Actor) -> Actor:
        """Start one."""
        with self._lock:
            self.actors[actor.name] = actor
        return actor

    def stop(self) -> None:
        """End everybody."""
        self._stopping.set()
        self._thread.join()
        for request in (signal.SIGTERM, signal.SIGKILL):
            for actor in self.actors.values():
                actor.send(request)
            deadline = time.monotonic() + _STOP_SECONDS
            for actor in self.actors.values():
                if actor.process is not None:
                    actor.process.join(max(0.0, deadline - time.monotonic()))
        for actor in self.actors.values():
            if actor.process is not None:
                actor.process.close()
                actor.process = None

    def _keep(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            with self._lock:
                for actor in self.actors.values():
                    self._look_after(actor)

    def _look_after(self, actor: Actor) -> None:
        process = actor.process
        if process is not None:
            if process.is_alive():
                return
            process.join()
            status = process.exitcode or 0
            process.close()
            actor.process = None
            actor.deaths.append(Death(time.monotonic(), status, actor.point))
            actor.finished = status == 0
            # One that fails by itself would otherwise fail a hundred times a second.
            actor.not_before = time.monotonic() + self._pause_seconds * (1 if status < 0 else 5)
        if actor.wanted and not actor.finished and time.monotonic() >= actor.not_before:
            actor.point, actor.next_point = actor.next_point, None
            actor.process = _context.Process(
                target=_body, args=(actor.body, actor.arguments, actor.log, actor.point)
            )
            actor.process.start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _body(
    body: Callable[..., None], arguments: tuple[Any, ...], log: Path, point: Point | None
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    arm(point)
    body(*arguments)
