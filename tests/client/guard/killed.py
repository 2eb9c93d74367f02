"""A guard that is killed, as by ``kill -9``, at one point of writing one kind of line down.

``python -m tests.client.guard.killed HOME PASSWORD_FILE KIND POINT``
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from wardround_client.guard import log as log_module
from wardround_client.guard.log import GuardLog
from wardround_client.guard.run import run_guard
from wardround_client.guard.wire import Wire
from wardround_client.password import read_password_file

POINTS = (
    "before writing", "half written", "before syncing", "after syncing", "half sent", "sent"
)  # fmt: skip


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Dying:
    """The system's calls, until the point has come."""

    def __init__(self, kind: str, point: str) -> None:
        self.kind, self.point, self.armed = kind, point, False

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        if self.armed and self.point == "before writing":
            _die()
        if self.armed and self.point == "half written":
            os.write(descriptor, data[: len(data) // 2])
            _die()
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        if self.armed and self.point == "before syncing":
            _die()
        os.fsync(descriptor)
        if self.armed and self.point == "after syncing":
            _die()


def main(home: str, password_file: str, kind: str, point: str) -> None:
    dying = _Dying(kind, point)
    log_module.os = dying  # type: ignore[assignment]
    append, send = GuardLog.append, Wire.send

    def armed(self: GuardLog, written: str, /, **fields: Any) -> Any:
        dying.armed = dying.armed or written == kind
        return append(self, written, **fields)

    def sending(self: Wire, document: Any, parts: Any = ()) -> None:
        if dying.armed and point == "half sent":
            self._connection.sendall(b"\x00\x00")
            _die()
        send(self, document, parts)
        if dying.armed and point == "sent":
            _die()

    GuardLog.append = armed  # type: ignore[method-assign]
    Wire.send = sending  # type: ignore[method-assign]
    say = lambda words: print(words, flush=True)  # noqa: E731
    run_guard(Path(home), read_password_file(Path(password_file)), lambda: 1, say, say)


if __name__ == "__main__":
    main(*sys.argv[1:])
