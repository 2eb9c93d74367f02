"""Epsilon at a delta, from the distribution of what all mechanisms together give away.

Losses of independent mechanisms add up, so their distributions are convolved. Every approximation
here rounds towards more loss: epsilon is a bound, at most a few thousandths above the exact figure.

Source:
    Doroshenko et al. 2022, "Connect the dots" (arXiv:2207.04380), for the grid; Gopi et al. 2021
    (arXiv:2106.02848), for composition by FFT. Before the FFT each distribution is tilted by
    ``exp(tilt * loss)`` (Esscher 1932) towards the losses that decide, so that a window of a few
    standard deviations is enough and the smallest delta has full relative precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import lfilter
from scipy.special import logsumexp

from wardround.learning.privacy.pairs import Floats, Pair

#: What the grid may add to epsilon: absolute, or relative where epsilon is large.
_ERROR, _RELATIVE_ERROR = 0.002, 1e-4
#: Points of the grid on which the tilt is chosen, and the most of any grid.
_COARSE_POINTS, _POINTS_MAX = 4096, 1 << 19
#: Share of the tilted distribution that may be outside the window, or an error of the FFT.
_SLACK = 1e-11
_TILTS = np.geomspace(1e-3, 1e6, 121)
#: The tilt is corrected so often, and epsilon then so many standard deviations from the centre.
_TRIES, _NEAR = 4, 4.0

#: Mechanisms, each with how often it is observed.
Parts = Sequence[tuple[Pair, int]]


def epsilon_of(parts: Parts, delta: float) -> float:
    """Bound what an observer of all these mechanisms learns.

    Args:
        parts: pairs of distributions, each observed at least once.
        delta: chance with which the bound may fail, in (0, 1).
    Returns:
        At least 0.
    """
    if not parts:
        return 0.0
    tilt, bound = _renyi(parts, delta)
    if bound <= 0:
        return 0.0
    error = max(_ERROR, _RELATIVE_ERROR * bound)
    # So much wider a grid makes the loss vary that epsilon grows by the error; where the loss has
    # few values, by less than two widths.
    width = math.sqrt(12 * error / (sum(times for _, times in parts) * (1 + tilt)))
    width = min(width, 2 * error)
    for _ in range(_TRIES):
        total = _compose(parts, tilt, width)
        found = total.epsilon(delta)
        if abs(found - total.centre) <= _NEAR * total.spread:
            return max(0.0, min(found, bound))
        change = (min(found, bound) - total.centre) / total.spread**2
        tilt = min(max(tilt + change, tilt / 4), tilt * 4)
    return bound


def _renyi(parts: Parts, delta: float) -> tuple[float, float]:
    """Bound epsilon by Rényi divergences: looser, but it tells where to look closely.

    Source:
        Canonne, Kamath, Steinke 2020 (arXiv:2004.00010), proposition 12; order ``1 + tilt``.
    """
    moments = sum(times * _moments(pair) for pair, times in parts)
    bounds = (moments - math.log(delta) - np.log1p(_TILTS)) / _TILTS - np.log1p(1 / _TILTS)
    best = int(np.nanargmin(bounds))
    return float(_TILTS[best]), float(bounds[best])


@lru_cache(maxsize=4096)
def _moments(pair: Pair) -> Floats:
    """Logarithms of the mean of ``exp(tilt * loss)``, for each of `_TILTS`."""
    low, high = pair.reach()
    losses = _discretise(pair, max((high - low) / _COARSE_POINTS, 1e-12))
    kept = losses.masses > 0
    logs = np.log(losses.masses[kept]) + _TILTS[:, None] * losses.at[kept]
    return np.asarray(logsumexp(logs, axis=1))


@dataclass(frozen=True, eq=False)
class _Losses:
    """Losses at ``first * width``, ``(first + 1) * width`` and so on.

    Attributes:
        masses: float64, one a point.
        infinite: mass of the loss beyond all.
    """

    first: int
    width: float
    masses: Floats
    infinite: float

    @property
    def at(self) -> Floats:
        return np.asarray((self.first + np.arange(len(self.masses))) * self.width)


def _discretise(pair: Pair, width: float) -> _Losses:
    """Put a loss on a grid such that no observer learns less.

    The mass between two points is divided over them so that it is kept under both distributions.
    """
    low, high = pair.reach()
    first, last = math.floor(low / width) - 1, math.ceil(high / width) + 1
    edges: Floats = np.arange(first, last + 1) * np.float64(width)
    here, there, below, above = pair.masses(edges)
    with np.errstate(over="ignore", invalid="ignore"):
        upper = (here - there * np.exp(edges[:-1])) / -math.expm1(-width)
    # Where one is too small for a float, all of it goes up.
    upper = np.clip(np.where(np.isfinite(upper), upper, here), 0.0, here)
    masses = np.concatenate([here - upper, [0.0]]) + np.concatenate([[below], upper])
    return _Losses(first, width, masses, above)


@dataclass(frozen=True, eq=False)
class _Tilted:
    """One mechanism's losses, tilted and normalised; ``log_scale`` is what that divided by."""

    times: int
    first: int
    shares: Floats
    log_scale: float
    mean: float
    variance: float
    infinite: float


def _tilted(pair: Pair, times: int, tilt: float, width: float) -> _Tilted:
    losses = _discretise(pair, width)
    with np.errstate(divide="ignore"):
        logs = np.log(losses.masses) + tilt * losses.at
    scale = float(logsumexp(logs))
    shares = np.exp(logs - scale)
    mean = float(shares @ losses.at)
    variance = float(shares @ (losses.at - mean) ** 2)
    return _Tilted(times, losses.first, shares, scale, mean, variance, losses.infinite)


@dataclass(frozen=True, eq=False)
class _Total:
    """The whole loss, tilted, in a window about its centre.

    Attributes:
        first: the window begins at ``first * width``.
        width: between two points.
        shares: float64, one a point; they add up to 1.
        tilt: exponent.
        log_scale: logarithm of what the shares were divided by.
        centre: mean of the tilted loss.
        spread: its standard deviation.
        infinite: mass of the loss that is cut off.
    """

    first: int
    width: float
    shares: Floats
    tilt: float
    log_scale: float
    centre: float
    spread: float
    infinite: float

    def epsilon(self, delta: float) -> float:
        """Find the epsilon at which delta is reached; infinity where it is above the window."""
        # From the greatest loss down. All masses are in units of this one, to stay in range.
        at = ((self.first + np.arange(len(self.shares))) * self.width)[::-1]
        log_unit = self.log_scale - self.tilt * self.centre
        target = math.exp(min(700.0, math.log(max(delta - self.infinite, 1e-300)) - log_unit))
        fade = math.exp(-self.width)
        with np.errstate(over="ignore", invalid="ignore"):
            lean = np.exp(-self.tilt * (at - self.centre))
            masses = self.shares[::-1] * lean
            above = np.cumsum(masses) - masses
            # The same, each discounted by how far it is above the point.
            discounted = lfilter([0.0, fade], [1.0, -fade], masses)
            slack = _SLACK * lean
            exceeded = np.flatnonzero(~(above - discounted + slack <= target))
        if not len(exceeded):
            return float(at[-1])
        here = int(exceeded[0])
        if here == 0:
            return math.inf
        point, rest = float(at[here]), float(target - slack[here])
        if not (0 < rest < above[here] < math.inf and discounted[here] > 0):
            return point + self.width
        # Between two points delta is linear in exp(epsilon).
        step = math.log(above[here] - rest) - math.log(discounted[here])
        return point + min(max(step, 0.0), self.width)


def _compose(parts: Parts, tilt: float, width: float) -> _Total:
    """Add up all losses."""
    longest = max(high - low for low, high in (pair.reach() for pair, _ in parts))
    width = max(width, longest / _POINTS_MAX)
    tilted = [_tilted(pair, times, tilt, width) for pair, times in parts]
    centre = sum(one.times * one.mean for one in tilted)
    spread = math.sqrt(sum(one.times * one.variance for one in tilted)) + width
    below, above = (_window(tilted, width, spread, side) for side in (-1, 1))
    points = math.ceil((below + above) / width) + 2
    if points > _POINTS_MAX:
        return _compose(parts, tilt, 1.1 * width * points / _POINTS_MAX)
    points = next_fast_len(points, real=True)
    spectrum = np.ones(points // 2 + 1, dtype=np.complex128)
    for one in tilted:
        # A loss of any size has its place in the window modulo its length.
        places = (one.first + np.arange(len(one.shares))) % points
        spectrum *= rfft(np.bincount(places, one.shares, minlength=points)) ** one.times
    first = math.floor((centre - below) / width)
    return _Total(
        first=first,
        width=width,
        shares=np.roll(np.maximum(irfft(spectrum, points), 0.0), -(first % points)),
        tilt=tilt,
        log_scale=sum(one.times * one.log_scale for one in tilted),
        centre=centre,
        spread=spread,
        infinite=sum(one.times * one.infinite for one in tilted),
    )


def _window(tilted: Sequence[_Tilted], width: float, spread: float, side: int) -> float:
    """How far from its centre the tilted loss is, but for the slack, by Chernoff's bound."""
    found = []
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0):
        growth = 0.0
        for one in tilted:
            kept = np.flatnonzero(one.shares)
            away = (one.first + kept) * width - one.mean
            logs = np.log(one.shares[kept]) + side * factor / spread * away
            growth += one.times * float(logsumexp(logs))
        found.append((growth - math.log(_SLACK / 100)) * spread / factor)
    return min(found)
