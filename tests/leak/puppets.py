"""A coordinator with a puppet site, which decides from which model a site trains next."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from wardround.leak.replay import Floats
from wardround.protocol.fixed_point import Int32Vector

SCALE = 2.0**20
#: Steep, so that a row is far from the threshold on either side; a puppet's update is twice as
#: long as the way from one model to the next, and has to fit into 2**11.
STEEP, STARTS = 200.0, (-2.4, 0.0, 2.4)


class Bisection:
    """Chooses thresholds along one direction, until rows lie alone between two of them.

    It sees updates alone: their bias counts the rows between two thresholds.
    """

    def __init__(self, features: int, ask: Callable[[Int32Vector], Int32Vector], unit: float):
        """Take what gives an update, weight decay undone, and what a row adds to its bias."""
        direction = np.random.default_rng(1).standard_normal(features)
        self.slope: Floats = STEEP * direction / np.linalg.norm(direction)
        self._ask, self._unit = ask, unit
        self.counts: dict[float, float] = {}

    def model(self, threshold: float) -> Int32Vector:
        flat = np.append(self.slope, -STEEP * threshold)
        return np.rint(flat * SCALE).astype(np.int32)

    def ask(self, threshold: float) -> None:
        update = self._ask(self.model(threshold))
        self.counts[threshold] = float(update[-1]) / SCALE / self._unit

    def next(self) -> float:
        """The middle between two thresholds with the fewest rows, two or more, between them."""
        known = sorted(self.counts)
        between = [
            (abs(self.counts[one] - self.counts[other]), one, other)
            for one, other in pairwise(known)
            if abs(self.counts[one] - self.counts[other]) > 1.5 and other - one > 1e-3
        ]
        if not between:
            return known[0] - 1
        _, one, other = min(between)
        return (one + other) / 2
