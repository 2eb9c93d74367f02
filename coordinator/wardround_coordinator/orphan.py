"""End a ServerApp whose SuperLink has died.

Flower watches for that itself, but raises its signal in a thread of its own: a main thread that
waits for a lock, as one does that fetches answers from the dead SuperLink, never hears it, and the
process stays for ever. `wardround.transport.lifeline` is not in the bundle that Flower unpacks and
runs.
"""

from __future__ import annotations

import os
import threading
import time

_LOOK_SECONDS = 0.5


def end_with_parent() -> None:
    """Let this process end at once when the one that started it has ended.

    Nothing is tidied up: a coordinator may be killed at any moment.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="orphan", daemon=True).start()
