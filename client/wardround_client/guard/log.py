"""What left the site, and what was refused: lines that are durable before anything follows them.

Each line is a document in RFC 8785 form that holds the digest of the line before it. A crash may
damage the last line, whose answer had not left; damage anywhere else is an error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wardround.host.durable import OWNER_ONLY, write_durably
from wardround.host.lock import take_lock
from wardround.protocol.canonical import canonical_bytes, parse_canonical, sha256_digest
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import hex_of
from wardround_client.errors import LogError

LINE_MAX_BYTES = 1 << 17
#: What was signed, what was measured, the privacy that was spent, and where the trainer failed.
KEPT = frozenset({"signed", "spent", "released", "failed"})
_START = "0x" + "00" * 32
_log = logging.getLogger("wardround.guard")

Line = dict[str, Any]
#: Seconds since 1970.
Now = Callable[[], int]


def create_log(path: Path, now: int, **fields: Any) -> None:
    """Make a log with its first line, so that a lost one is noticed."""
    data = _written({"at": now, "before": _START, "kind": "created", "n": 1, **fields})
    write_durably(path, data, mode=OWNER_ONLY, new=True)


def read_log(path: Path) -> Iterator[Line]:
    """Read a log while a guard may be writing to it; a last line that is not whole is left out.

    Raises:
        LogError: there is none, it is kept from this user, or a line is not the one that was
            written.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LogError(path, f"cannot be read ({reason}): read it as its owner") from None
    with file:
        before, number = _START, 0
        while data := file.readline(LINE_MAX_BYTES + 1):
            if not data.endswith(b"\n"):
                if len(data) > LINE_MAX_BYTES:
                    raise _damaged(path, number + 1, "it is too long")
                break
            number += 1
            yield _checked(path, data, number, before)
            before = hex_of(sha256_digest(data))
    if number == 0:
        raise _damaged(path, 1, "it is not there")


class GuardLog:
    """A log that is open for writing, by one guard at a time."""

    def __init__(self, path: Path, now: Now) -> None:
        """Open a log, drop what a crash cut off, and read the rest.

        Raises:
            LogError: there is none, another guard has it open, or a line was altered.
        """
        self.path, self._now, self._broken = path, now, ""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _missing(path) from None
        if not take_lock(self._file):
            os.close(self._file)
            raise LogError(path, "is in use by another guard: stop that one first")
        #: Lines that decide what may be signed, in their order.
        self.kept: list[Line] = []
        self._count, self._length, self._last = 0, 0, _START
        try:
            for line in read_log(path):
                self._take(line, _written(line))
            self._repair()
        except BaseException:
            os.close(self._file)
            raise

    def append(self, kind: str, **fields: Any) -> Line:
        """Write a line; when this returns, it survives a crash.

        Raises:
            LogError: it may not have been written. From then on nothing is.
        """
        if self._broken:
            raise _unwritable(self.path, self._broken)
        line = {
            "at": self._now(), "before": self._last, "kind": kind, "n": self._count + 1, **fields,
        }  # fmt: skip
        data = _written(line)
        if len(data) > LINE_MAX_BYTES:
            raise _unwritable(self.path, f"a line of {len(data)} bytes")
        try:
            written = os.write(self._file, data)
            if written != len(data):
                raise OSError(f"{written} of {len(data)} bytes were written")
            os.fsync(self._file)
        except OSError as error:
            # What is on disk now is not known: only a new start, which reads it, can tell.
            self._broken = error.strerror or str(error)
            raise _unwritable(self.path, self._broken) from error
        self._take(line, data)
        if sentence := guard_sentence(line):
            _log.info(sentence)
        return line

    def close(self) -> None:
        """Let go of the file. Harmless the second time."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take(self, line: Line, data: bytes) -> None:
        self._count += 1
        self._length += len(data)
        self._last = hex_of(sha256_digest(data))
        if line["kind"] in KEPT:
            self.kept.append(line)

    def _repair(self) -> None:
        torn = os.fstat(self._file).st_size - self._length
        if torn:
            os.ftruncate(self._file, self._length)
            os.fsync(self._file)
            self.append("repaired", bytes=torn)


def guard_sentence(line: Line) -> str | None:
    """Put a line into words; None for what a person need not read at once."""
    if line["kind"] == "signed":
        return (
            f"signed round {line['round']} of study {line['study'][:10]}…: "
            f"weight {line['weight']:,}, {line['update_bytes']:,} bytes of update leave"
        )
    if line["kind"] == "spent" and (out := line.get("left_out")) and out["rows"]:
        what = "round" if line["attempt"] else "measures of round"
        return (
            f"{what} {line['round']} of study {line['study'][:10]}…: {out['patients']:,} patients "
            f"({out['rows']:,} rows) are left out: their budget is spent"
        )
    if line["kind"] == "released":
        noise = line["measures"]["noise"]
        counts = f"{len(line['measures']['counts'])} counts of test rows leave"
        return f"a model was measured: {counts}, {f'noise {noise:g}' if noise else 'no noise'}"
    if line["kind"] == "refused":
        return f"REFUSED ({line['error']}): {line['words']}"
    return None


def _missing(path: Path) -> LogError:
    # Without it the guard could sign a second, different contribution.
    return LogError(path, "is missing: restore it, or make a new site with a new key")


def _damaged(path: Path, line: int, reason: str) -> LogError:
    return LogError(path, f"is damaged in line {line} ({reason}): restore a true copy")


def unwritable(path: Path, error: OSError) -> LogError:
    """A file on which the log depends cannot be written."""
    return _unwritable(path, error.strerror or str(error))


def _unwritable(path: Path, reason: str) -> LogError:
    return LogError(path, f"cannot be written ({reason}): free the disk, and restart the guard")


def _written(line: Line) -> bytes:
    return canonical_bytes(line) + b"\n"


def _checked(path: Path, data: bytes, number: int, before: str) -> Line:
    try:
        line = parse_canonical(data[:-1], "line")
    except Malformed as error:
        raise _damaged(path, number, error.reason) from None
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        raise _damaged(path, number, "it is no line of a guard")
    if line.get("n") != number or line.get("before") != before:
        raise _damaged(path, number, "it does not follow the line before it")
    return line
