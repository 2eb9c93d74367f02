"""Commands called in the tests' own process, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def good(self) -> str:
        """What a command that succeeded printed."""
        assert self.status == 0, self.err
        return self.out

    @property
    def error(self) -> str:
        """The one line that names the fault, without the steps before it."""
        assert self.status != 0, self.out
        assert "Traceback" not in self.err + self.out
        lines = [line for line in self.err.splitlines() if not line.startswith("…")]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        assert len(lines[0]) < 1000
        return lines[0]


Call = Callable[..., Ended]
