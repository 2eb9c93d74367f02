"""Memory that no other process of a site's user can read: passwords, keys and rows are in it."""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from wardround.host.sandbox.kernel import end_with_the_parent, hide_memory
from wardround_client.errors import KeystoreError

#: What the process that was started passes on, and how it learns of its child's end.
_PASSED_ON = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
_WAITED_FOR = {*_PASSED_ON, signal.SIGCHLD}
_LOOK_SECONDS = 1.0


def keep_memory_private() -> None:
    """Go on in memory that no other process of the same user can read, nor a crash writes down.

    Memory that is closed stays readable through a descriptor opened before. This therefore goes on
    in a fork, whose memory is closed from its first moment. The process that was started waits,
    passes signals on, and ends as the fork does. Call it before there is a secret or a thread of
    one's own. Only Linux can close memory; elsewhere there is no core dump, and nothing else.

    Raises:
        KeystoreError: another process traces this one.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    hide_memory()
    # From here on no process of this user can begin to trace this one.
    if tracer := _tracer():
        raise KeystoreError(
            f"process {tracer} traces this command, and could read password and key: end it."
        )
    # A parent process may have set it to be ignored; the kernel then reports no child's end.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    parent, child = os.getpid(), os.fork()
    if child:
        _stand_for(child)
    end_with_the_parent()
    if os.getppid() != parent:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tracer() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("TracerPid:"):
            return int(line.split()[1])
    return 0


def _stand_for(child: int) -> NoReturn:
    """Pass signals on to a child, and end as it does."""
    while True:
        # For a while only: another thread may have taken the signal of the child's end.
        found = signal.sigtimedwait(_WAITED_FOR, _LOOK_SECONDS)
        # The terminal's own, which have a positive code, reach the child as well.
        if found is not None and found.si_signo in _PASSED_ON and found.si_code <= 0:
            os.kill(child, found.si_signo)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(status)
            if status < 0:
                _end_by(-status)
            os._exit(status)


def _end_by(number: int) -> None:
    with suppress(OSError):  # SIGKILL has no handler to take away
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.kill(os.getpid(), number)
