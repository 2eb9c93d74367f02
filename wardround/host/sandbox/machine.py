"""What this machine offers for a sandbox, in words for a person."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache

from wardround.host.sandbox.bubblewrap import why_not
from wardround.host.sandbox.kernel import landlock_abi
from wardround.host.sandbox.system_calls import is_offered


@dataclass(frozen=True)
class Offer:
    """The walls that can be put up here.

    Attributes:
        no_namespaces: why there are none; None where there are.
        landlock: its ABI; 0 where there is none.
        seccomp: whether system calls can be filtered.
    """

    no_namespaces: str | None
    landlock: int
    seccomp: bool

    @property
    def namespaces(self) -> bool:
        """Whether there are namespaces."""
        return self.no_namespaces is None

    @property
    def is_enough(self) -> bool:
        """Whether code of a study may be run behind these walls."""
        return self.seccomp and (self.namespaces or self.landlock > 0)

    def words(self) -> str:
        """Name the walls: ``namespaces, Landlock 7, seccomp``."""
        walls = [
            "namespaces" if self.namespaces else "",
            f"Landlock {self.landlock}" if self.landlock else "",
            "seccomp" if self.seccomp else "",
        ]
        named = ", ".join(wall for wall in walls if wall) or "none"
        return named if self.namespaces else f"{named} (no namespaces: {self.no_namespaces})"


@lru_cache(maxsize=1)
def offered() -> Offer:
    """Find out what this machine offers; once a process, because it takes a trial."""
    if sys.platform != "linux":
        return Offer(f"the system is {sys.platform}, not Linux", 0, seccomp=False)
    return Offer(why_not(), landlock_abi(), is_offered())
