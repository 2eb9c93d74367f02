"""Wisconsin Diagnostic Breast Cancer, bundled with scikit-learn, divided over made-up sites.

569 women, 30 measurements of cell nuclei from a fine needle aspirate; 0 is malignant, 1 benign.

Source:
    Wolberg, Mangasarian, Street 1995, UCI Machine Learning Repository, CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from wardround.learning.datasets.base import Dataset, DatasetSource
from wardround.learning.datasets.partition import Rows, by_covariate, dirichlet, iid
from wardround.learning.datasets.split import can_stratify, prepare_site
from wardround.learning.errors import DataError, no_split


class BreastCancer(DatasetSource):
    """Works offline.

    Attributes:
        sites: how many hospitals share the rows.
        partition: how the rows are divided.
        alpha: of the Dirichlet partition; ignored by the others.
        covariate: of the covariate partition, by scikit-learn's name; ignored by the others.
        train_size: share of a site's rows that it trains on.
        minimum_train: training rows that each site must have.
        minimum_test: test rows that each site must have.
        seed: of the partition and of each site's split.
    """

    sites: int = Field(default=4, ge=1)
    partition: Literal["iid", "dirichlet", "covariate"] = "iid"
    alpha: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    covariate: str = "mean radius"
    train_size: float = Field(default=0.66, gt=0, lt=1)
    minimum_train: int = Field(default=8, ge=2)
    minimum_test: int = Field(default=4, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

    def load(self, *, data_dir: Path | None) -> Dataset:
        """Divide the bundled rows.

        Raises:
            DataError: a site would get fewer rows than the minimum; there is no such covariate.
        """
        # Here, as in `split`: it takes a second.
        from sklearn.datasets import load_breast_cancer

        bunch = load_breast_cancer()
        features = bunch.data.astype(np.float64)
        labels = bunch.target.astype(np.int64)
        names = [str(name) for name in bunch.feature_names]
        parts = self._partition(features, labels, names)
        for part in parts:
            # The same rounding as train_test_split: train down, test gets the rest.
            train = int(len(part) * self.train_size)
            if train < self.minimum_train or len(part) - train < self.minimum_test:
                raise no_split(
                    self.sites,
                    len(labels),
                    f"a site would have {train} rows to train and {len(part) - train} to test, "
                    f"of at least {self.minimum_train} and {self.minimum_test}",
                )
        width = len(str(self.sites))
        sites = tuple(
            prepare_site(
                f"site-{number:0{width}d}",
                features[part],
                labels[part],
                train_size=self.train_size,
                seed=(self.seed + number) % 2**32,
                stratify=can_stratify(labels[part], self.train_size),
            )
            for number, part in enumerate(parts, start=1)
        )
        return Dataset("breast-cancer", classes=2, shape=(len(names),), sites=sites)

    def _partition(self, features: np.ndarray, labels: Rows, names: list[str]) -> list[Rows]:
        if self.partition == "iid":
            return iid(len(labels), self.sites, self.seed)
        if self.partition == "dirichlet":
            minimum = _smallest(self.train_size, self.minimum_train, self.minimum_test)
            return dirichlet(labels, self.sites, self.alpha, minimum, self.seed)
        if self.covariate not in names:
            raise DataError(
                "data set breast-cancer: argument 'covariate': no such column, use one of "
                f"{', '.join(names)}."
            )
        return by_covariate(features[:, names.index(self.covariate)], self.sites)


def _smallest(train_size: float, minimum_train: int, minimum_test: int) -> int:
    """Count the rows from which both parts reach their minimum."""
    rows = minimum_train + minimum_test
    while int(rows * train_size) < minimum_train or rows - int(rows * train_size) < minimum_test:
        rows += 1
    return rows
