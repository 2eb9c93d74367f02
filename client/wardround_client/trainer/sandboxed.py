"""A trainer in processes of its own: the guard's side of `trainer.warm`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
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
from wardround_client.trainer.warm import OPENING_SECONDS, PLAIN, PRIVATE, Opening

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


class _Child:
    """A confined process that waits for its one job, or runs it: its socket and its lifeline."""

    def __init__(self, control: socket.socket, kind: bytes) -> None:
        """Have the warm process fork it.

        Args:
            kind: of its job, `warm.PLAIN` or `warm.PRIVATE`, whose children run plain ones too.
        Raises:
            OSError: that process has gone.
        """
        self.kind = kind
        self.connection, theirs = socket.socketpair()
        theirs_ends, self._lifeline = os.pipe()
        try:
            with theirs:
                socket.send_fds(control, [kind], [theirs.fileno(), theirs_ends])
        except OSError:
            self.end()
            raise
        finally:
            os.close(theirs_ends)

    def is_waiting(self) -> bool:
        """Whether it lives: before its job there is nothing to read but its end."""
        try:
            self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def end(self) -> None:
        """Have it killed."""
        os.close(self._lifeline)
        self.connection.close()


@dataclass(eq=False)
class _Warm:
    """A running process, its control socket, and the child of it that is to run the next job.

    That child is forked and confined while the job before it runs: one that follows at once, as a
    measurement follows a training, need not wait for it.
    """

    process: subprocess.Popen[bytes]
    control: socket.socket
    ended: threading.Event = field(default_factory=threading.Event)
    _next: _Child | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def job(self, kind: bytes) -> Iterator[socket.socket]:
        """Give the socket of a child that waits for a job; it is killed with the block.

        Args:
            kind: of the job.
        Raises:
            OSError: the process has gone.
        """
        with self._turn:
            child, self._next = self._next, None
        if child is not None and not (child.kind in (kind, PRIVATE) and child.is_waiting()):
            child.end()
            child = None
        child = child or _Child(self.control, kind)
        try:
            # Of the kind that it has: it runs the other's jobs too, and the process stays as it is.
            self.prepare(child.kind)
            yield child.connection
        finally:
            child.end()

    def prepare(self, kind: bytes = PLAIN) -> None:
        """Have the child of the next job forked."""
        with self._turn, suppress(OSError):  # the process has gone, which a job would find out
            if self._next is None:
                self._next = _Child(self.control, kind)

    def retire(self) -> None:
        """Let go of what is left of it, once it has ended."""
        with self._turn:
            self.control.close()
            if self._next is not None:
                self._next.end()
                self._next = None

    def end(self) -> None:
        """Kill it; what is left of it ends for want of a guard."""
        # The whole group: a bubblewrap whose parent is killed as they start waits for it for ever.
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)


class SandboxedTrainer:
    """Runs each job in a child of a warm process, and starts that process again when it ends."""

    def __init__(
        self,
        name: str,
        sandbox: Sandbox,
        tell: Tell,
        job_seconds: float = 3600.0,
    ) -> None:
        """Start the process; jobs wait until it is ready.

        Args:
            name: for people: ``the trainer``.
            sandbox: around it.
            tell: takes what happens, in whole sentences.
            job_seconds: how long one job may take.
        """
        self._name, self._sandbox, self._tell = name, sandbox, tell
        self._job_seconds = job_seconds
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
        is_private = isinstance(job, TrainJob) and job.private is not None
        with self._free, ExitStack() as open_job:
            warm = self._ready()
            try:
                connection = open_job.enter_context(warm.job(PRIVATE if is_private else PLAIN))
            except OSError:
                raise self._gone() from None
            # From here on the child may have rows, so whatever happens is the job's failure.
            try:
                wire = Wire(connection, self._job_seconds)
                send_job(wire, job)
                return receive(wire)
            except JobFailed as error:
                # The study's own words stay in this log: they may quote rows.
                raise self._failed(f"ended with {_printable(str(error))}") from None
            except TimeoutError:
                raise self._failed(f"was ended after {self._job_seconds:g} s") from None
            except (Malformed, OSError, MemoryError) as error:
                # The next job is not to meet a process that is about to end.
                warm.ended.wait(_GONE_SECONDS)
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
            if self._opened(warm.control):
                warm.prepare()
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
            warm.retire()
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
        return _Warm(process, ours)

    def _opened(self, control: socket.socket) -> bool:
        """Tell the process its confinement, and wait until it is ready."""
        wire = Wire(control, OPENING_SECONDS)
        opening = Opening(program=self._sandbox.program(), child=self._sandbox.child())
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
