"""Namespaces by bubblewrap: a process that sees no network, no other process and little disk.

Source:
    https://github.com/containers/bubblewrap, version 0.4 and later.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache

from wardround.host.sandbox.readable import PROGRAM, Readable, readable_by_python

_TRIAL_SECONDS = 20.0


def wrapped(
    command: Sequence[str], readable: Readable, environment: Mapping[str, str]
) -> list[str]:
    """Put a command into namespaces of its own.

    Descriptors that the command inherits stay open. It ends when the thread ends that started it.

    Args:
        command: its program is among the readable files.
        readable: what it sees of the disk.
        environment: in place of this process's own.
    """
    words = [
        *("bwrap", "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"),
        *("--unshare-uts", "--unshare-cgroup-try", "--hostname", "trainer"),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108  (its own)
    ]
    for name, value in environment.items():
        words += ["--setenv", name, value]
    for path in readable.files:
        words += ["--ro-bind-try", path, path]
    for path in readable.devices:
        words += ["--dev-bind-try", path, path]
    return [*words, "--remount-ro", "/", "--chdir", "/", "--", *command]


@lru_cache(maxsize=1)
def why_not() -> str | None:
    """Try it: None where namespaces can be had, else the reason why not."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    command = [PROGRAM, "-I", "-S", "-c", "pass"]
    try:
        done = subprocess.run(
            wrapped(command, readable_by_python(()), {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap cannot be started ({type(error).__name__})"
    if done.returncode == 0:
        return None
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return words[-1] if words else f"bubblewrap ends with status {done.returncode}"
