"""``python -m wardround.transport.lifeline MODULE ...``: a module that ends with its parent.

A supervisor that is killed cannot stop what it started, and what it left behind would hold ports
and keys. This watches the parent from inside the child.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

_LOOK_SECONDS = 0.3
_GRACE_SECONDS = 10.0


def end_with_parent() -> None:
    """Let this process end when its parent has ended: first as if asked to, then at once."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def main(arguments: list[str]) -> None:
    """Run a module as ``python -m MODULE`` does."""
    if not arguments:
        sys.exit("usage: python -m wardround.transport.lifeline MODULE [ARGUMENT...]")
    end_with_parent()
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
