"""What came of one attack on one site, and how it is judged by the rows that are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wardround.leak.replay import Floats
from wardround.learning.datasets.table import Table, load_table

#: A row counts as rebuilt when no feature is off by more, in the units of the table.
EXACT = 0.01


@dataclass(frozen=True, kw_only=True)
class AttackOutcome:
    """One attack on one site.

    Attributes:
        attack: its name.
        site: whose rows; empty for an attack on all.
        words: what was done and what came of it, or why it was not tried.
        tried: whether it was.
        leak: whether it found what may not be found.
        rebuilt: rows with every feature within `EXACT` and the label right; None where no table
            is there to judge by.
        rows: of the table that was attacked.
        error: median of the features' errors over the rows that were solved for.
        auc: of telling members from others, in [0, 1].
        missed: by how many roundings the solved rows miss the published updates.
        cosine: between an isolated update and the true one.
    """

    attack: str
    site: str
    words: str
    tried: bool = True
    leak: bool = False
    rebuilt: int | None = None
    rows: int | None = None
    error: float | None = None
    auc: float | None = None
    missed: float | None = None
    cosine: float | None = None

    @property
    def is_judged(self) -> bool:
        """Whether it was tried, and tables showed what it found."""
        return self.rebuilt is not None or self.auc is not None


def not_tried(attack: str, site: str, reason: str) -> AttackOutcome:
    """State why an attack does not apply."""
    return AttackOutcome(attack=attack, site=site, words=f"not tried: {reason}", tried=False)


@dataclass(frozen=True, eq=False)
class Truth:
    """A site's own rows: only to judge by, and as candidates for membership.

    Attributes:
        train: its training table; None where it is not at hand.
        test: its held-out table; None where it is not at hand.
    """

    train: Table | None = None
    test: Table | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is any table to judge by."""
        return self.train is not None or self.test is not None


def read_truth(folder: Path) -> Truth:
    """Read what a site's folder has of ``train.npz`` and ``test.npz``.

    Raises:
        DataError: one of them is no table.
    """
    tables = [folder / f"{name}.npz" for name in ("train", "test")]
    return Truth(*(load_table(path) if path.is_file() else None for path in tables))


@dataclass(frozen=True)
class Judged:
    """How near solved rows are to the true ones."""

    rebuilt: int
    rows: int
    error: float


def judge(solved: Floats, table: Table) -> Judged:
    """Compare solved rows with a table, each with the one that is nearest to it.

    Args:
        solved: float64, shape (m, d + 1), label last; NaN for a label that was not solved for.
        table: the truth.
    """
    features = table.features.reshape(len(table), -1).astype(np.float64)
    if not len(solved):
        return Judged(0, len(table), float("inf"))
    apart = np.abs(solved[:, None, :-1] - features[None])
    wrong = np.abs(solved[:, None, -1] - table.labels[None]) >= 0.5  # False for NaN
    worst = apart.max(axis=2) + 1e3 * wrong
    exact = int((worst.min(axis=0) < EXACT).sum())
    nearest = apart[np.arange(len(solved)), worst.argmin(axis=1)]
    return Judged(exact, len(table), float(np.median(nearest)))
