"""What came of one attack on one site, and how it is judged by the rows that are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wardround.leak.replay import Floats
from wardround.learning.datasets.table import Table, load_table
from wardround.learning.errors import DataError, LearningError, no_rows
from wardround.learning.models import check_fits, row_shape_of
from wardround.protocol.model import ModelSpec

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


def read_truth(folder: Path, model: ModelSpec) -> Truth:
    """Read what a site's folder has of ``train.npz`` and ``test.npz``.

    Args:
        folder: the site's.
        model: of the study, which must take the tables' rows and labels.
    Raises:
        DataError: one of them is no table, has no rows, or others than the model takes; names it.
    """
    tables = [folder / f"{name}.npz" for name in ("train", "test")]
    return Truth(*(_fitting(path, model) if path.is_file() else None for path in tables))


def _fitting(path: Path, model: ModelSpec) -> Table:
    """Read a table in the shape that the model names, so that all of a study's tables have one."""
    table = load_table(path)
    if not len(table):
        raise no_rows(str(path))
    try:
        check_fits(model, table.features.shape[1:], int(table.labels.max()) + 1)
    except LearningError as error:
        raise DataError(f"{path}: {error}") from error
    shape = (len(table), *row_shape_of(model))
    return replace(table, features=table.features.reshape(shape))


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


def judged_rows(
    attack: str, site: str, found: str, solved: Floats, table: Table | None
) -> AttackOutcome:
    """State what an attack that solves for rows came to: any row is a leak, unless none is true.

    Args:
        found: what it found, in words.
        solved: as `judge` takes them.
        table: the truth; None where it is not at hand.
    """
    if table is None:
        words = f"{found}; no table is here to judge by"
        return AttackOutcome(attack=attack, site=site, words=words, leak=len(solved) > 0)
    judged = judge(solved, table)
    return AttackOutcome(
        attack=attack,
        site=site,
        words=f"{found}, {judged.rebuilt} of {judged.rows} are rebuilt",
        leak=judged.rebuilt > 0,
        rebuilt=judged.rebuilt,
        rows=judged.rows,
        error=judged.error if len(solved) else None,
    )
