"""What every service that runs for weeks needs: to be the only one, and to read what others add."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround.protocol.errors import WardroundError

_LOCK_FILE = "run.lock"


@contextmanager
def only_one(folder: Path, running: WardroundError) -> Iterator[None]:
    """Be the one process that runs what is in a folder, however the last one ended.

    Args:
        folder: whose.
        running: raised when another process does.
    """
    descriptor = os.open(folder / _LOCK_FILE, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise running from error
        yield
    finally:
        os.close(descriptor)


class LineReader:
    """Reads a file's lines as it grows, from where it ends now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0

    def news(self) -> list[bytes]:
        """Read the lines that were added since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return whole.splitlines()
