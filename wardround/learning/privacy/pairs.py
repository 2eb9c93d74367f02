"""What an observer has to tell apart: one mechanism's output on two neighbouring tables.

The loss of an output is the logarithm of how much likelier the first table makes it than the
second. Deviations are in units of the most that a person's rows add to a sum.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, ndtr

Floats = npt.NDArray[np.float64]
#: Mass of each interval under the first table and under the second; the first's below and above.
Masses = tuple[Floats, Floats, float, float]

#: Standard deviations after which a Gaussian is cut off; 1e-60 of it is beyond.
_REACH = 16.4


class Pair(ABC):
    """Two distributions whose loss one number decides."""

    @abstractmethod
    def reach(self) -> tuple[float, float]:
        """Give the least and the greatest loss that are not cut off."""

    @abstractmethod
    def masses(self, edges: Floats) -> Masses:
        """Weigh intervals of the loss.

        Args:
            edges: float64, shape (n + 1,), ascending by steps of one width.
        Returns:
            float64, shape (n,), of either distribution; the first's mass below and above all.
        """


@dataclass(frozen=True)
class Sampled(Pair):
    """A sum with Gaussian noise, in which a person takes part by chance; and without the person.

    Attributes:
        deviation: of the noise.
        rate: chance of the person to take part, in (0, 1].
        swapped: the person is in the second table instead of the first.

    Source:
        Mironov, Talwar, Zhang 2019 (arXiv:1908.10530), theorem 4: both distributions in one
        dimension, whatever the sums.
    """

    deviation: float
    rate: float
    swapped: bool = False

    def reach(self) -> tuple[float, float]:
        far = _REACH * self.deviation
        low, high = (_likelier(at, self.deviation, self.rate) for at in (-far, 1 + far))
        return (-high, -low) if self.swapped else (low, high)

    def masses(self, edges: Floats) -> Masses:
        sums = self._sums(-edges if self.swapped else edges)
        without = _between(sums, 0.0, self.deviation)
        taken = _between(sums, 1.0, self.deviation)
        person = (1 - self.rate) * without + self.rate * taken
        if not self.swapped:
            return person, without, *_beyond(sums, self.deviation, self.rate)
        # A greater loss is a smaller sum.
        below, above = ndtr(-sums[0] / self.deviation), ndtr(sums[-1] / self.deviation)
        return without, person, float(below), float(above)

    def _sums(self, losses: Floats) -> Floats:
        """Give the sum that has each loss; minus infinity where none is so small."""
        rest = 1 - self.rate
        with np.errstate(divide="ignore"):
            # log(exp(loss) - rest), without the cancellation of either end.
            low = np.exp(np.minimum(losses, 0.0)) - rest
            middle = np.expm1(np.clip(losses, -1.0, 1.0)) + self.rate
            near = np.log(np.maximum(np.where(losses < -0.5, low, middle), 0.0))
            high = losses + np.log1p(-rest * np.exp(-np.maximum(losses, 0.5)))
        logs = np.where(losses > 0.5, high, near) - math.log(self.rate)
        return np.asarray(self.deviation**2 * logs + 0.5)


@dataclass(frozen=True)
class Replaced(Pair):
    """A sum with Gaussian noise, in which a person takes part by chance; and with another person.

    They add opposite vectors of full length, which is what is easiest to tell apart.

    Source:
        Lebeda, Regehr, Kamath, Steinke 2024 (arXiv:2405.20769), on substitution under Poisson
        sampling.
    """

    deviation: float
    rate: float

    def reach(self) -> tuple[float, float]:
        at = 1 + _REACH * self.deviation
        here, there = (_likelier(side, self.deviation, self.rate) for side in (at, -at))
        return there - here, here - there

    def masses(self, edges: Floats) -> Masses:
        sums = self._sums(edges)
        nobody, one, other = (_between(sums, at, self.deviation) for at in (0.0, 1.0, -1.0))
        here, there = ((1 - self.rate) * nobody + self.rate * taken for taken in (one, other))
        return here, there, *_beyond(sums, self.deviation, self.rate)

    def _sums(self, losses: Floats) -> Floats:
        """Solve the quadratic equation in exp(sum / variance), by logarithms: none may overflow."""
        size = np.abs(losses)
        with np.errstate(divide="ignore"):
            linear = _log_rest(self.rate) + size + np.log(-np.expm1(-size))
        both = math.log(2 * self.rate) - 1 / (2 * self.deviation**2)
        root = 0.5 * np.logaddexp(2 * linear, 2 * both + size)
        return np.asarray(np.sign(losses) * self.deviation**2 * (np.logaddexp(linear, root) - both))


@dataclass(frozen=True)
class Counted(Pair):
    """A count with discrete Gaussian noise; and the count when some rows left it.

    Attributes:
        deviation: parameter of the noise.
        rows: that left.

    Source:
        Canonne, Kamath, Steinke 2020 (arXiv:2004.00010), definition 1.
    """

    deviation: float
    rows: int

    def reach(self) -> tuple[float, float]:
        losses, _, _ = self._outputs()
        return float(losses.min()), float(losses.max())

    def masses(self, edges: Floats) -> Masses:
        losses, *outputs = self._outputs()
        at = np.searchsorted(edges, losses, side="right") - 1
        inside = (at >= 0) & (at < len(edges) - 1)
        here, there = (
            np.bincount(at[inside], mass[inside], minlength=len(edges) - 1).astype(np.float64)
            for mass in outputs
        )
        low, high = (float(outputs[0][side].sum()) for side in (at < 0, at >= len(edges) - 1))
        return here, there, low, high

    def _outputs(self) -> tuple[Floats, Floats, Floats]:
        """Give each output's loss, and its mass under both."""
        far = math.ceil(_REACH * self.deviation) + self.rows
        values = np.arange(-far, far + self.rows + 1, dtype=np.float64)
        here, there = (
            -((values - at) ** 2) / (2 * self.deviation**2) for at in (0.0, float(self.rows))
        )
        scale = float(logsumexp(here))
        return here - there, np.exp(here - scale), np.exp(there - scale)


def _likelier(at: float, deviation: float, rate: float) -> float:
    """Give the loss of a sum, against the table without the person."""
    ratio = math.log(rate) + (2 * at - 1) / (2 * deviation**2)
    return float(np.logaddexp(_log_rest(rate), ratio))


def _log_rest(rate: float) -> float:
    return -math.inf if rate >= 1 else math.log1p(-rate)


def _between(sums: Floats, centre: float, deviation: float) -> Floats:
    """Mass of a Gaussian between neighbours, precise in both tails."""
    z = (sums - centre) / deviation
    lower, upper = np.diff(ndtr(z)), np.diff(ndtr(-z))
    return np.asarray(np.abs(np.where(z[:-1] + z[1:] > 0, upper, lower)))


def _beyond(sums: Floats, deviation: float, rate: float) -> tuple[float, float]:
    """Mass of a sum with the person, below all and above all."""
    low, high = (
        [ndtr(sign * (sums[at] - centre) / deviation) for centre in (0.0, 1.0)]
        for sign, at in ((1, 0), (-1, -1))
    )
    below, above = ((1 - rate) * without + rate * taken for without, taken in (low, high))
    return float(below), float(above)
