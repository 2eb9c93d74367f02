"""``python -m wardround.host.lifeline MODULE ...``: a module that ends with its parent.

A supervisor that is killed cannot stop its children, which would go on holding ports and keys.
Each of them therefore watches its parent.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable

_LOOK_SECONDS = 0.3
_GRACE_SECONDS = 10.0


def parent_watch() -> Callable[[], bool]:
    """Note the parent, and give a function that returns whether it has ended since."""
    parent = os.getppid()
    return lambda: os.getppid() != parent


def end_with_parent(grace_seconds: float = _GRACE_SECONDS) -> None:
    """End this process when its parent has ended: with SIGTERM, then at once.

    Args:
        grace_seconds: from SIGTERM to the end; 0 sends none.
    """
    has_ended = parent_watch()

    def watch() -> None:
        # Signals are the main thread's, also while it blocks them in order to wait for one.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not has_ended():
            time.sleep(_LOOK_SECONDS)
        if grace_seconds:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace_seconds)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def main(arguments: list[str]) -> None:
    """Run a module as ``python -m MODULE`` does."""
    if not arguments:
        sys.exit("usage: python -m wardround.host.lifeline MODULE [ARGUMENT...]")
    end_with_parent()
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
