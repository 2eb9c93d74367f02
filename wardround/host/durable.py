"""Durable writes: a reader finds the whole file or none, and a finished write survives a crash.

A file is written under a hidden name, synced, renamed, and the folder synced as well: without the
last step a power failure may undo the rename.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

#: Permissions before the umask.
_EVERYONE, OWNER_ONLY = 0o666, 0o600


@contextmanager
def replacing(path: Path, *, mode: int = _EVERYONE, new: bool = False) -> Iterator[IO[bytes]]:
    """Open the next version of a file, which appears when the block ends without an error.

    Args:
        path: of the file; its folder exists.
        mode: permissions of the file, less the umask.
        new: do not replace a file that exists.
    Raises:
        FileExistsError: it exists, and is to be new.
        OSError: the disk is full, read-only or damaged; the old version is still there.
    """
    if new and path.exists():
        raise FileExistsError(17, os.strerror(17), str(path))
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if new:
            os.link(part, path)  # unlike a rename, fails when another process was faster
        else:
            part.replace(path)
    except OSError as error:
        if error.filename == os.fspath(part):  # people know the file by its own name
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_durably(
    path: Path, data: bytes | memoryview | str, *, mode: int = _EVERYONE, new: bool = False
) -> None:
    """Write a whole file, as `replacing` does; text is written as UTF-8."""
    with replacing(path, mode=mode, new=new) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read."""
    write_durably(path, text, mode=OWNER_ONLY, new=True)


def append_line(path: Path, line: bytes, *, mode: int = _EVERYONE) -> None:
    """Append a line, on a line of its own even after a crash that left half of the last one.

    Args:
        path: of the file, which is made where there is none.
        line: without its end.
        mode: permissions of a new file, less the umask.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)
    with os.fdopen(descriptor, "ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
        torn = file.read(1) not in (b"", b"\n")
        file.write((b"\n" if torn else b"") + line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def move(path: Path, target: Path) -> None:
    """Rename a file or folder in its folder; when this returns, the new name survives a crash."""
    path.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
