"""Locks between processes, which the operating system releases however their holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround.protocol.errors import WardroundError

_LOCK_FILE = "run.lock"


def take_lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file until its last descriptor is closed, inherited ones included.

    Args:
        descriptor: of the file; it stays open.
        shared: together with others that take it shared.
        wait: until it is free, however long.
    Returns:
        Whether it was taken; False when another process holds it.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def only_one(folder: Path, running: WardroundError) -> Iterator[None]:
    """Be the only process that runs what is in a folder.

    Args:
        folder: keeps the lock.
        running: raised when another process holds it.
    """
    descriptor = os.open(folder / _LOCK_FILE, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        if not take_lock(descriptor):
            raise running
        yield
    finally:
        os.close(descriptor)
