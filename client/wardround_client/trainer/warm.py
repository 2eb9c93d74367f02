"""The process that trains: it imports PyTorch once, and forks a child for each job.

It enters its sandbox before it imports anything of weight. It takes from the guard, over one
socket, the sockets of jobs; each child confines itself further, in a domain of its own, and then
waits for its one job, whose study may bring code. What a child sends, this process never reads.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path

from wardround.host.sandbox.confine import Confinement, close_all_but, confine
from wardround.host.sandbox.sandbox import THREADS_MAX
from wardround.protocol.documents import Form
from wardround_client.guard.wire import Wire

OPENING_SECONDS = 60.0
#: What the guard sends with the socket of a job: whether it trains privately.
PLAIN, PRIVATE = b".", b"p"
_MODULES = ("wardround_client.trainer.parcel", "wardround_client.trainer.work")
#: With Opacus, which takes as long again to import: once a study needs it.
_PRIVATE_MODULE = "wardround.learning.privacy.descent"
_LOOK_MILLISECONDS = 100
_FIRST_TO_END = "1000"
#: Of ``/proc/PID/stat``, after the name.
_THREADS_FIELD = 17
#: From a job's start to its end; the guard ends it long before.
_JOB_SECONDS = 30 * 86_400.0


class Opening(Form):
    """What the guard tells this process first."""

    #: None: there is no sandbox.
    program: Confinement | None
    child: Confinement | None


@dataclass
class _Forker:
    control: socket.socket
    child: Confinement | None
    #: Running jobs: the descriptors that tell of their end, by process id.
    jobs: dict[int, tuple[int, int]] = field(default_factory=dict)

    def serve(self) -> None:
        """Fork until the guard closes its end of the control socket."""
        while True:
            events = select.poll()
            events.register(self.control, select.POLLIN)
            for ended, lifeline in self.jobs.values():
                events.register(ended, select.POLLIN)
                events.register(lifeline, 0)  # only that its other end is closed
            ready = dict(events.poll(_LOOK_MILLISECONDS if self.jobs else None))
            for process, (ended, lifeline) in list(self.jobs.items()):
                if lifeline in ready or not _is_within_threads(process):
                    os.kill(process, signal.SIGKILL)
                    self._forget(process)
                elif ended in ready:
                    self._forget(process)
            if self.control.fileno() in ready and not self._take():
                return

    def _take(self) -> bool:
        """Take one job; give False when the guard has gone."""
        word, descriptors, *_ = socket.recv_fds(self.control, 1, 2)
        if not word:
            return False
        connection, lifeline = descriptors
        if word == PRIVATE and _PRIVATE_MODULE not in sys.modules:
            _import(_PRIVATE_MODULE)
        try:
            process = os.fork()
        except OSError:  # the machine has no process left: this job ends, and no other
            os.close(connection)
            os.close(lifeline)
            return True
        if process == 0:
            _become_child(connection, self.child)
        os.close(connection)
        self.jobs[process] = (os.pidfd_open(process), lifeline)
        return True

    def _forget(self, process: int) -> None:
        os.waitpid(process, 0)
        for descriptor in self.jobs.pop(process):
            os.close(descriptor)


def main(descriptor: int) -> None:
    """Run until the guard has gone.

    Args:
        descriptor: of the control socket.
    """
    control = socket.socket(fileno=descriptor)
    wire = Wire(control, OPENING_SECONDS)
    opening = Opening.model_validate(wire.receive())
    # Where memory runs out, the kernel ends a job, and not the guard that counts its failures.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_END, "ascii")
    if opening.program is not None:
        confine(opening.program)
    # No folder can be written to, and modules that only name a temporary one would look for one.
    tempfile.tempdir = os.environ["HOME"]
    _import(*_MODULES)
    wire.extend(OPENING_SECONDS)
    wire.send({"ready": True})
    control.settimeout(None)
    _Forker(control, opening.child).serve()


def _import(*names: str) -> None:
    for name in names:
        import_module(name)
    gc.collect()
    gc.freeze()  # else a child's first collection copies every page


def _become_child(connection: int, keep: Confinement | None) -> None:
    """Confine this process, run one job and end."""
    status = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        own = close_all_but(connection)
        if keep is not None:
            confine(keep)
        select.select([own], [], [])  # however long: it may be forked long before its job
        _run(Wire(socket.socket(fileno=own), _JOB_SECONDS))
        status = 0
    finally:
        # Without the exit handlers of a process that it is only a copy of.
        os._exit(status)


def _run(wire: Wire) -> None:
    from wardround_client.trainer import parcel, work
    from wardround_client.trainer.base import TrainJob

    job = parcel.receive_job(wire)
    try:
        model = work.network_of(job)
        if isinstance(job, TrainJob):
            send = partial(parcel.send_trained, result=work.train(model, job))
        else:
            send = partial(parcel.send_predicted, probabilities=work.predict(model, job))
    except BaseException as error:  # noqa: BLE001  (an entry point, of code that may raise anything)
        send = partial(parcel.send_failed, words=f"{type(error).__name__}: {error}")
    send(wire)


def _is_within_threads(process: int) -> bool:
    """Whether a child has few enough threads; not where its entry cannot be read as one."""
    try:
        # The child chooses the name in it, of whatever bytes.
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[_THREADS_FIELD]) <= THREADS_MAX
    except (OSError, ValueError, IndexError):
        return False
