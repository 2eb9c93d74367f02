"""The event log of a folder: what its processes do, as JSON lines in ``logs/events.jsonl``.

Every process that works for the folder appends to the same file, one whole line at a time. The one
that supervises them (`EventLog`) shows the lines to a person and rotates the file; the others
(`configure`) notice the rotation and open the new file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path
from typing import Any

from wardround.protocol.errors import WardroundError

EVENTS_FILE = Path("logs") / "events.jsonl"
#: Of each log that is rotated: the size of one file, and how many older ones are kept.
FILE_MAX_BYTES, OLDER_FILES = 2_000_000, 4


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message; of an error its code as well."""

    def format(self, record: logging.LogRecord) -> str:
        row: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if isinstance(record.msg, WardroundError):
            row["code"] = record.msg.code
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return json.dumps(row)


def configure(folder: Path, name: str) -> logging.Logger:
    """Let a part of this process write to a folder's event log.

    Args:
        folder: of a site, a coordinator or a chain.
        name: of the part, such as ``guard``.
    Returns:
        Its logger, ``wardround.NAME``, from level INFO.
    """
    path = folder / EVENTS_FILE
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = WatchedFileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(f"wardround.{name}")
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return logger


class EventLog:
    """Reads a folder's event log as it grows, from where it ends now."""

    def __init__(self, folder: Path, *, rotates: bool = False) -> None:
        """Start reading.

        Args:
            folder: its.
            rotates: rotate the file; for the one process that supervises the others.
        """
        self._path, self._rotates = folder / EVENTS_FILE, rotates
        self._at, self._inode = 0, 0
        if self._path.exists():
            found = self._path.stat()
            self._at, self._inode = found.st_size, found.st_ino

    def news(self) -> Iterator[str]:
        """Give the messages that were added since the last call."""
        if not self._path.exists():
            return
        data, inode = b"", self._path.stat().st_ino
        if inode != self._inode:
            older = self._path.with_name(f"{self._path.name}.1")
            if older.exists() and older.stat().st_ino == self._inode:
                data = _rest(older, self._at)  # written while the file was being rotated
            self._at, self._inode = 0, inode
        rest = _rest(self._path, self._at)
        self._at += len(rest)
        if self._rotates and self._at > FILE_MAX_BYTES:
            rotated(self._path).doRollover()
        for line in (data + rest).splitlines():
            with suppress(ValueError):  # half a line, from a power failure
                yield str(json.loads(line)["message"])


def _rest(path: Path, start: int) -> bytes:
    """Read whole lines from an offset."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    return data[: data.rfind(b"\n") + 1]


def rotated(path: Path) -> RotatingFileHandler:
    """Open a text file that keeps `OLDER_FILES` older ones beside it."""
    handler = RotatingFileHandler(
        path, maxBytes=FILE_MAX_BYTES, backupCount=OLDER_FILES, encoding="utf-8", delay=True
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler
