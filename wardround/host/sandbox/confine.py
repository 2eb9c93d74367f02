"""Enter the sandbox: give up, one after the other, all that the work does not need."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

from wardround.host.sandbox.kernel import (
    count_threads_apart,
    end_with_the_parent,
    gain_nothing,
    hide_memory,
    landlock_abi,
    load_filter,
)
from wardround.host.sandbox.landlock import restrict
from wardround.protocol.documents import Form

#: Files that a process may have open.
_OPEN_FILES = 256
_STANDARD = 3


class Confinement(Form):
    """What a process keeps; a document, because the process that enters receives it."""

    #: Files, and folders with all that is in them.
    readable: list[str]
    #: Of ``/dev``, to read and write.
    devices: list[str]
    #: A filter of `system_calls.compiled`, in hexadecimal; empty where the kernel has none.
    system_calls: str
    #: Address space beyond what the process has when it enters; None: no limit.
    memory_bytes: int | None = None
    #: Where it can have a user namespace of its own, counted for itself; else together with all
    #: others of its user in its namespaces. None: no limit.
    threads: int | None = None
    #: Whether a graphics processor is among the devices.
    graphics: bool = False


def confine(keep: Confinement) -> None:
    """Confine this process, and every thread and child of it, for good.

    It must have one thread, and have open what it will use.

    Raises:
        OSError: a limit is refused; the process must then end.
    """
    if keep.threads is not None:
        # Else one study's threads would leave another none; a kernel may refuse a second namespace.
        with suppress(OSError):
            count_threads_apart()
    end_with_the_parent()
    _limit(keep)
    hide_memory()
    gain_nothing()
    if landlock_abi():
        restrict(keep.readable, keep.devices)
    if keep.system_calls:
        # The last: it refuses what the lines above do.
        load_filter(bytes.fromhex(keep.system_calls))


def close_all_but(kept: int) -> int:
    """Close every file but one and the standard ones, and give that one's new number."""
    os.dup2(kept, _STANDARD)
    os.closerange(_STANDARD + 1, os.sysconf("SC_OPEN_MAX"))
    return _STANDARD


def _limit(keep: Confinement) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
    }
    if keep.threads is not None:
        limits[resource.RLIMIT_NPROC] = keep.threads
    if keep.memory_bytes is not None:
        # Drivers of graphics processors reserve far more addresses than they use.
        kind = resource.RLIMIT_DATA if keep.graphics else resource.RLIMIT_AS
        limits[kind] = _address_space() + keep.memory_bytes
    for kind, value in limits.items():
        highest = resource.getrlimit(kind)[1]
        if highest != resource.RLIM_INFINITY:
            value = min(value, highest)
        resource.setrlimit(kind, (value, value))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * resource.getpagesize()
