"""Ways to divide one table over sites, from evenly mixed to plainly unlike each other.

`numpy.random.RandomState` is used on purpose: its streams are frozen, those of newer generators
may change with numpy, and a partition is part of what makes a study repeatable.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wardround.learning.errors import no_split

Rows = npt.NDArray[np.int64]

DRAWS = 1000
"""How often Dirichlet proportions are drawn before a split counts as impossible."""


def iid(rows: int, sites: int, seed: int) -> list[Rows]:
    """Deal shuffled rows evenly; sizes differ by at most one.

    Returns:
        One sorted array of row numbers a site; together a partition of 0 .. rows - 1.
    """
    order = np.random.RandomState(seed).permutation(rows)
    return [np.sort(part) for part in np.array_split(order, sites)]


def by_covariate(values: npt.NDArray[np.float64], sites: int) -> list[Rows]:
    """Give each site one quantile range of a covariate, lowest first; ties keep row order.

    Args:
        values: float64, shape (n,), one a row.
        sites: at least 1.
    """
    order = np.argsort(values, kind="stable")
    return [np.sort(part) for part in np.array_split(order, sites)]


def dirichlet(labels: Rows, sites: int, alpha: float, minimum: int, seed: int) -> list[Rows]:
    """Skew labels over sites: each class is shared out by Dirichlet(alpha) proportions.

    Proportions are drawn again until every site has enough rows, as is usual.

    Args:
        labels: int64, shape (n,).
        sites: at least 1.
        alpha: > 0; small is very unlike, large is nearly iid.
        minimum: rows that each site must get.
        seed: of the draws.
    Raises:
        DataError: no draw of `DRAWS` gave every site its minimum.
    Source:
        Hsu, Qi, Brown 2019 (arXiv:1909.06335); Yurochkin et al. 2019 (arXiv:1905.12022).
    """
    random = np.random.RandomState(seed)
    for _ in range(DRAWS):
        parts: list[list[Rows]] = [[] for _ in range(sites)]
        for label in np.unique(labels):
            members = random.permutation(np.flatnonzero(labels == label))
            shares = random.dirichlet(np.full(sites, alpha))
            cuts = np.floor(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
            for part, dealt in zip(parts, np.split(members, cuts), strict=True):
                part.append(dealt)
        dealt_rows = [np.sort(np.concatenate(part)) for part in parts]
        if min(len(part) for part in dealt_rows) >= minimum:
            return dealt_rows
    raise no_split(
        sites, len(labels), f"no Dirichlet({alpha:g}) draw left {minimum} rows for every site"
    )
