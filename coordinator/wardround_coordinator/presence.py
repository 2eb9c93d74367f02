"""Whether a coordinator's ServerApp is alive, known at once and not after Flower's patience.

The ServerApp holds a lock for as long as it lives, which the operating system lets go of however it
ends. Flower would hear no heartbeat of it for 45 seconds before it called the run failed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from wardround.host.lock import take_lock

#: Longer than Flower takes to tell of a run that has just ended in good order.
GRACE_SECONDS = 3.0


def be_present(path: Path) -> int:
    """Hold the lock until this process ends.

    Args:
        path: of the lock; its folder exists.
    Returns:
        The open file; nothing needs to be done with it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    # Shared: one that is about to end must not keep the next one from starting.
    take_lock(descriptor, shared=True, wait=True)
    return descriptor


@dataclass
class Presence:
    """Watches a run's ServerApp from outside.

    Attributes:
        path: of the lock.
        clock: seconds that only grow.
    """

    path: Path
    clock: Callable[[], float] = time.monotonic
    _seen: bool = False
    _gone_at: float | None = field(default=None)

    def expect(self) -> None:
        """Forget what was: another ServerApp is to come."""
        self._seen, self._gone_at = False, None

    def is_lost(self) -> bool:
        """Whether it was there, and has not been for a while."""
        if self._is_held():
            self._seen, self._gone_at = True, None
            return False
        if not self._seen:
            return False
        if self._gone_at is None:
            self._gone_at = self.clock()
        return self.clock() - self._gone_at >= GRACE_SECONDS

    def _is_held(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not take_lock(descriptor)
        finally:
            os.close(descriptor)
