"""A trainer in processes of its own: the guard's side of `trainer.warm`."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TypeVar

import numpy as np
import numpy.typing as npt

from wardround.host.backoff import pauses
from wardround.host.sandbox.sandbox import Sandbox
from wardround.host.screen import visible
from wardround.protocol.errors import Malformed
from wardround_client.errors import Refusal, RefusedForNow
from wardround_client.guard.wire import Wire
from wardround_client.trainer.base import PredictJob, TrainJob, TrainResult
from wardround_client.trainer.parcel import (
    JobFailed,
    receive_predicted,
    receive_trained,
    send_job,
)
from wardround_client.trainer.warm import OPENING_SECONDS, Opening

#: To import PyTorch, also on a machine that does much else.
START_SECONDS = 300.0
JOBS_AT_ONCE = 4
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.2, 30.0
#: A process that ran this long is not failing to start.
_STEADY_SECONDS = 60.0
#: How long the end of a job may come before the end of the process that ran it.
_GONE_SECONDS = 0.5
_LINES_KEPT, _LINE_MAX = 5, 300

ResultT = TypeVar("ResultT")
#: Adds a sentence to the site's event log.
Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Warm:
    """A running process and its control socket."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    turn: threading.Lock
    ended: threading.Event

    def start_job(self, connection: socket.socket, lifeline: int) -> None:
        """Hand over the socket of a job, and a pipe that ends the job when it is closed."""
        with self.turn:
            socket.send_fds(self.control, [b"."], [connection.fileno(), lifeline])

    def end(self) -> None:
        """Kill it; what is left of it ends for want of a guard."""
        self.process.kill()
        with suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def is_gone(self) -> bool:
        """Whether the process has ended, or is about to."""
        return self.ended.wait(_GONE_SECONDS)


class SandboxedTrainer:
    """Runs each job in a child of a warm process, and starts that process again when it ends."""

    def __init__(
        self,
        name: str,
        sandbox: Sandbox,
        tell: Tell,
        job_seconds: float = 3600.0,
        *,
        trains: bool = True,
    ) -> None:
        """Start the process; jobs wait until it is ready.

        Args:
            name: for people: ``the trainer``.
            sandbox: around it.
            tell: takes what happens, in whole sentences.
            job_seconds: how long one job may take.
            trains: False for jobs that only measure, so that it starts in half the time.
        """
        self._name, self._sandbox, self._tell = name, sandbox, tell
        self._job_seconds, self._trains = job_seconds, trains
        self._free = threading.Semaphore(JOBS_AT_ONCE)
        self._changed = threading.Condition()
        self._started: _Warm | None = None
        #: The same, once it takes jobs.
        self._warm: _Warm | None = None
        self._closed = False
        # One thread starts it and stays, because the process ends with the thread that started it.
        self._keeper = threading.Thread(target=self._keep, name=name, daemon=True)
        self._keeper.start()

    def train(self, job: TrainJob) -> TrainResult:
        """See `Trainer.train`."""
        return self._run(job, lambda wire: receive_trained(wire, job))

    def predict(self, job: PredictJob) -> npt.NDArray[np.float64]:
        """See `Trainer.predict`."""
        return self._run(job, lambda wire: receive_predicted(wire, job))

    def close(self) -> None:
        """End the process and all its jobs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self._started is not None:
                self._started.end()
        self._keeper.join()

    # ---------------------------------------------------------------- a job

    def _run(self, job: TrainJob | PredictJob, receive: Callable[[Wire], ResultT]) -> ResultT:
        with self._free:
            warm = self._ready()
            try:
                with _job_of(warm) as connection:
                    wire = Wire(connection, self._job_seconds)
                    send_job(wire, job)
                    return receive(wire)
            except JobFailed as error:
                # The study's own words stay in this log: they may quote rows.
                raise self._failed(f"ended with {_printable(str(error))}") from None
            except TimeoutError:
                raise self._failed(f"was ended after {self._job_seconds:g} s") from None
            except (Malformed, OSError) as error:
                if warm.is_gone():
                    raise self._gone() from None
                raise self._failed(f"was cut off ({_printable(str(error))})") from None

    def _ready(self) -> _Warm:
        with self._changed:
            self._changed.wait_for(lambda: self._warm is not None or self._closed, START_SECONDS)
            if self._warm is None or self._closed:
                raise self._gone()
            return self._warm

    def _failed(self, how: str) -> Refusal:
        self._tell(f"a job of {self._name} {how}")
        words = "the study's training or its model ended in an error: this site's log has it."
        return Refusal("trainer-failed", words)

    def _gone(self) -> RefusedForNow:
        return RefusedForNow("trainer-gone", f"{self._name} is not running, and is started again.")

    # ---------------------------------------------------------------- the process

    def _keep(self) -> None:
        waits = pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        while True:
            started, last = time.monotonic(), deque[str](maxlen=_LINES_KEPT)
            warm = self._start()
            with self._changed:
                self._started = warm
                if self._closed:
                    warm.end()
            with warm.control:
                if self._opened(warm.control):
                    self._publish(warm)
                else:
                    warm.end()
                status = _drained(warm.process, last)
                if not self._closed:
                    # Before its jobs are refused, so that the log has why.
                    how = _how_ended(status, last[-1] if last else "")
                    self._tell(f"{self._name} {how}; starting it again")
                warm.ended.set()
                self._publish(None)
            if self._closed:
                return
            if time.monotonic() - started > _STEADY_SECONDS:
                waits = pauses(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, next(waits)):
                    return

    def _start(self) -> _Warm:
        ours, theirs = socket.socketpair()
        statement = f"from wardround_client.trainer.warm import main; main({theirs.fileno()})"
        with theirs:
            process = subprocess.Popen(
                self._sandbox.command(statement),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=self._sandbox.environment(),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return _Warm(process, ours, threading.Lock(), threading.Event())

    def _opened(self, control: socket.socket) -> bool:
        """Tell the process its confinement, and wait until it is ready."""
        wire = Wire(control, OPENING_SECONDS)
        opening = Opening(
            program=self._sandbox.program(), child=self._sandbox.child(), trains=self._trains
        )
        try:
            wire.send(opening.model_dump(mode="json"))
            wire.extend(START_SECONDS)
            wire.receive()
        except (OSError, Malformed):
            return False
        return True

    def _publish(self, warm: _Warm | None) -> None:
        with self._changed:
            self._warm = warm
            self._changed.notify_all()


@contextmanager
def _job_of(warm: _Warm) -> Iterator[socket.socket]:
    """Start a job, and end its process with the block, however the block ends."""
    ours, theirs = socket.socketpair()
    theirs_ends, ours_ends = os.pipe()
    try:
        with theirs:
            warm.start_job(theirs, theirs_ends)
        with ours:
            yield ours
    finally:
        os.close(theirs_ends)
        os.close(ours_ends)


def _drained(process: subprocess.Popen[bytes], last: deque[str]) -> int:
    """Wait for a process's end, and keep the last lines that it wrote."""
    lines: IO[bytes] | None = process.stderr
    assert lines is not None
    with lines:
        for line in lines:
            last.append(_printable(line.decode("utf-8", "replace")))
    return process.wait()


def _how_ended(status: int, last: str) -> str:
    how = f"was killed by signal {-status}" if status < 0 else f"ended with {status}"
    return f"{how} ({last})" if last else how


def _printable(text: str) -> str:
    """One line without control characters, which a terminal would obey."""
    return visible(" ".join(text.split())[:_LINE_MAX])
