"""Landlock: a process gives up what it does not need, and every thread and child with it.

Each process that enters is in a domain of its own: it cannot trace another, read its memory or,
from ABI 6 on, send it a signal.

Source:
    The kernel's Documentation/userspace-api/landlock.rst, ABI 7.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from wardround.host.sandbox.kernel import allow_beneath, landlock_abi, restrict_self, ruleset

_WRITE_FILE, _READ_FILE, _READ_DIR, _IOCTL_DEV = 1 << 1, 1 << 2, 1 << 3, 1 << 15
#: Of each ABI that added some: the highest right to files, to ports, and the highest scope.
_FILES = {1: 1 << 12, 2: 1 << 13, 3: 1 << 14, 5: _IOCTL_DEV}
_NETWORK = {4: 1 << 1}
_SCOPES = {6: 1 << 1}


def restrict(readable: Iterable[str] = (), devices: Iterable[str] = ()) -> None:
    """Let this process read some files, write none, and reach no other process or machine.

    Paths that do not exist are left out.

    Args:
        readable: files, and folders with all that is in them.
        devices: files of ``/dev`` to read, write and control.
    Raises:
        OSError: the kernel has no Landlock, or refuses.
    """
    abi = landlock_abi()
    with ruleset(_all(_FILES, abi), _all(_NETWORK, abi), _all(_SCOPES, abi)) as rules:
        for path in readable:
            folder = _READ_DIR if os.path.isdir(path) else 0  # noqa: PTH112  (nothing is imported)
            _allow(rules, path, _READ_FILE | folder)
        for path in devices:
            _allow(rules, path, _READ_FILE | _WRITE_FILE | (_IOCTL_DEV & _all(_FILES, abi)))
        restrict_self(rules, abi)


def _allow(rules: int, path: str, access: int) -> None:
    with suppress(FileNotFoundError):
        allow_beneath(rules, path, access)


def _all(highest: dict[int, int], abi: int) -> int:
    """All rights up to the highest that an ABI knows."""
    known = [right for since, right in highest.items() if since <= abi]
    return 2 * max(known) - 1 if known else 0
