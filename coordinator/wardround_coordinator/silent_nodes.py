"""Which nodes let a question run out, and when each is asked again.

A silent site costs the study one timeout. It is not asked for as long as it has cost, then for
twice as long, and so on; and it is asked at once when it has been away and connects again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field

#: Most of what an unanswered question may cost of the time after it.
_LONGEST_FACTOR = 64


@dataclass
class _Quiet:
    pause_seconds: float
    again_at: float
    away: bool = False


@dataclass
class SilentNodes:
    """The nodes that were silent when they were last asked.

    Attributes:
        clock: seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    _quiet: dict[int, _Quiet] = field(default_factory=dict)

    def note(self, node: int, cost_seconds: float, *, away: bool = False) -> float:
        """Note that a node gave no answer.

        Args:
            node: its id.
            cost_seconds: how long its answer was waited for.
            away: whether it was not even connected.
        Returns:
            For how many seconds it is not asked.
        """
        before = self._quiet.get(node)
        pause = cost_seconds if before is None else 2 * before.pause_seconds
        pause = min(pause, _LONGEST_FACTOR * cost_seconds)
        self._quiet[node] = _Quiet(pause, self.clock() + pause, away)
        return pause

    def answered(self, node: int) -> None:
        """Forget that a node was silent."""
        self._quiet.pop(node, None)

    def see(self, connected: Set[int]) -> None:
        """Forget nodes that have connected again.

        Args:
            connected: all that are, now.
        """
        for node, quiet in list(self._quiet.items()):
            if node not in connected:
                quiet.away = True
            elif quiet.away:
                del self._quiet[node]

    def is_silent(self, node: int) -> bool:
        """Whether a node was silent when it was last asked."""
        return node in self._quiet

    def is_due(self, node: int) -> bool:
        """Whether a node is to be asked, now."""
        quiet = self._quiet.get(node)
        return quiet is None or (not quiet.away and self.clock() >= quiet.again_at)
