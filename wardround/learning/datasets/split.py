"""One hospital's own preparation: hold out test rows, standardise on the training rows.

Each site does this alone, with nothing but its own rows, as it would in life.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.table import SiteData, Table

EPSILON = 1e-9
"""Added to every standard deviation, so that a constant column becomes zeros (FLamby's choice)."""


def prepare_site(
    name: str,
    features: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    *,
    train_size: float,
    seed: int,
    stratify: bool,
) -> SiteData:
    """Divide a site's rows into train and test, and z-score both on the training rows.

    Args:
        name: of the site.
        features: float64, shape (n, d).
        labels: int64, shape (n,).
        train_size: share of rows to train on, in (0, 1); at least two rows must result.
        seed: of the shuffle.
        stratify: keep the share of each class; needs two rows of each.
    """
    # Here, because every program of a site imports this package, and scikit-learn takes a second.
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(
        np.arange(len(labels)),
        train_size=train_size,
        random_state=seed,
        shuffle=True,
        stratify=labels if stratify else None,
    )
    mean = features[train].mean(axis=0)
    deviation = features[train].std(axis=0, ddof=1) + EPSILON

    def rows(index: npt.NDArray[np.int64]) -> Table:
        scaled = (features[index] - mean) / deviation
        return Table(scaled.astype(np.float32), labels[index].astype(np.int64))

    return SiteData(name, rows(train), rows(test))


def can_stratify(labels: npt.NDArray[np.int64], train_size: float) -> bool:
    """Tell whether both parts can hold every class, which stratifying needs."""
    classes, counts = np.unique(labels, return_counts=True)
    train = int(len(labels) * train_size)
    return bool(counts.min() >= 2 and min(train, len(labels) - train) >= len(classes))
