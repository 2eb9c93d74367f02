"""Levenberg and Marquardt for a table: the rows that give the published updates.

Source:
    Marquardt 1963, An Algorithm for Least-Squares Estimation of Nonlinear Parameters; a prior that
    fades is added, because a first guess of some rows is far off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardround.leak.replay import Floats, LogisticReplay

#: A fit that misses by no more than this many roundings of an update explains every one of them.
EXPLAINED_ROUNDINGS = 3.0
#: A fit that misses by this share of the updates has another order than the true one, not a wrong
#: label.
_HOPELESS = 0.01
#: How many labels that are in doubt are turned round, one at a time.
_FLIPS = 6
_JOINT_STEPS, _ROW_STEPS = 30, 30


@dataclass(frozen=True, eq=False)
class Fit:
    """A table that was solved for.

    Attributes:
        table: float64, shape (n, d + 1), labels 0 or 1.
        missed: root mean square by which the replayed updates miss the published ones, in
            roundings of the fixed point.
    """

    table: Floats
    missed: float

    @property
    def explains(self) -> bool:
        """Whether it gives every published number, up to its rounding."""
        return self.missed <= EXPLAINED_ROUNDINGS


@dataclass(frozen=True, eq=False)
class Equations:
    """Published updates, and the training that is said to have made them.

    Attributes:
        replay: the training.
        wanted: what the rounds took from their models by the learning rate, (R, d + 1).
        rounding: unit of the fixed point by the learning rate.
    """

    replay: LogisticReplay
    wanted: Floats
    rounding: float

    def solve(self, guess: Floats) -> Fit:
        """Solve for rows and labels.

        Args:
            guess: of the table, (n, d + 1).
        """
        table = self._jointly(guess)
        doubt = np.abs(table[:, -1] - _rounded(table[:, -1]))
        table[:, -1] = _rounded(table[:, -1])
        best = self._rows(table)
        if best.missed > _HOPELESS * np.sqrt((self.wanted**2).mean()) / self.rounding:
            return best
        for row in np.argsort(-doubt)[:_FLIPS]:
            if best.explains or doubt[row] < 0.05:
                break
            turned = table.copy()
            turned[row] = 0
            turned[row, -1] = 1 - table[row, -1]
            fit = self._rows(turned)
            if fit.missed < best.missed:
                best, table = fit, turned
        return best

    def _jointly(self, guess: Floats) -> Floats:
        """Solve with labels as free numbers that are drawn to 0 or 1."""
        pull = np.ones(guess.shape)
        pull[:, -1] = 4
        solved = guess
        every = np.ones(guess.shape, np.bool_)
        for table, _ in self._descend(guess, every, pull, 1e-2, _JOINT_STEPS):
            solved = table
        return solved.copy()

    def _rows(self, guess: Floats) -> Fit:
        """Solve with the labels as they are."""
        free = np.ones(guess.shape, np.bool_)
        free[:, -1] = False
        solved = Fit(guess, np.inf)
        for table, cost in self._descend(guess, free, np.ones(guess.shape), 1e-3, _ROW_STEPS):
            solved = Fit(table, self._roundings(cost))
            if solved.missed <= 1:
                break
        return solved

    def _roundings(self, cost: float) -> float:
        return float(np.sqrt(cost / self.wanted.size) / self.rounding)

    def _descend(
        self, table: Floats, free: npt.NDArray[np.bool_], pull: Floats, prior: float, steps: int
    ) -> Iterator[tuple[Floats, float]]:
        """Yield better and better tables, with the sum of squares by which each misses."""
        damping = 1.0 if free.all() else 1e-2
        missed, slopes = self._missed(table)
        weights = pull[free]
        for _ in range(steps):
            rest = np.zeros(table.shape)
            rest[:, -1] = _rounded(table[:, -1])
            apart = (table - rest)[free]
            slope = slopes[:, free.reshape(-1)]
            square = slope.T @ slope
            down = slope.T @ missed + prior * weights * apart
            cost = missed @ missed + prior * (weights * apart**2).sum()
            for _ in range(10):
                pressed = damping * np.maximum(np.diag(square), 1e-6) + prior * weights
                step = np.linalg.solve(square + np.diag(pressed), -down)
                tried = table.copy()
                tried[free] += step
                after = (self.replay.changes(tried) - self.wanted).reshape(-1)
                left = prior * (weights * (tried - rest)[free] ** 2).sum()
                if after @ after + left < cost:
                    break
                damping *= 4
            else:
                if prior < 1e-13:
                    return
                prior, damping = prior / 10, 1e-2
                continue
            table = tried
            missed, slopes = self._missed(table)
            damping, prior = max(damping / 5, 1e-10), max(prior / 2, 1e-14)
            yield table, float(missed @ missed)

    def _missed(self, table: Floats) -> tuple[Floats, Floats]:
        changes, slopes = self.replay.slopes(table)
        return (changes - self.wanted).reshape(-1), slopes


def first_guess(equations: Equations) -> Floats:
    """Guess a table by one linear solve: each row pulls by (p - y) (x, 1), and p is near a half.

    Early rounds are left out where enough others are there, because p moves most in them.
    """
    shares, wanted = equations.replay.shares, equations.wanted
    late = slice(len(wanted) // 5 if len(wanted) > shares.shape[1] * 1.3 else 0, None)
    square = shares[late].T @ shares[late] + 0.3 * np.eye(shares.shape[1])
    pulls = np.linalg.solve(square, shares[late].T @ wanted[late])
    bias = pulls[:, -1:]
    held = np.where(np.abs(bias) < 0.05, np.where(bias < 0, -0.05, 0.05), bias)
    guess: Floats = np.c_[np.clip(pulls[:, :-1] / held, -3, 3), bias < 0].astype(np.float64)
    return guess


def _rounded(labels: Floats) -> Floats:
    return np.asarray(np.round(np.clip(labels, 0, 1)), np.float64)
