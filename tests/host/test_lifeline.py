"""A process ends when its parent has ended."""

from __future__ import annotations

import subprocess
import sys
import time

from wardround.transport.processes import mark_of, running

#: As a ServerApp that fetches from a dead SuperLink: its main thread waits for a lock, for ever.
_CHILD = """
import signal, threading
from wardround.host.lifeline import end_with_parent
signal.signal(signal.SIGINT, lambda *_: None)
end_with_parent(grace_seconds=0)
print("ready", flush=True)
threading.Event().wait()
"""
_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(child.pid, flush=True)
child.wait()
"""


def test_process_that_waits_for_a_lock_ends_with_its_parent() -> None:
    command = [sys.executable, "-c", _PARENT, _CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        mark = mark_of(int(parent.stdout.readline()))
        assert mark is not None
        assert parent.stdout.readline() == "ready\n"
        time.sleep(1.0)
        assert running([mark]) == [mark]
        parent.kill()
        deadline = time.monotonic() + 30
        while running([mark]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert running([mark]) == []
