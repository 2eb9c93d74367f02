"""Pauses between attempts: each twice the one before, up to a cap, with jitter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from secrets import SystemRandom

#: Each pause is shortened by up to this part of it, so that many callers do not retry in step.
_JITTER = 0.2
_draw = SystemRandom().random


def pauses(
    first_seconds: float, longest_seconds: float = float("inf"), draw: Callable[[], float] = _draw
) -> Iterator[float]:
    """Give the seconds to wait after the first failure, the second, and so on, without end.

    Args:
        first_seconds: the first pause before jitter.
        longest_seconds: no pause is longer.
        draw: uniform in [0, 1).
    """
    pause = first_seconds
    while True:
        yield pause * (1 - _JITTER * draw())
        pause = min(2 * pause, longest_seconds)
