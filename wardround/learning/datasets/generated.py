"""Made-up rows with a rule that can be learnt: for benchmarks, not for claims."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from wardround.learning.datasets.base import Dataset, DatasetSource
from wardround.learning.datasets.table import SiteData, Table


class Generated(DatasetSource):
    """Gaussian features whose label is the largest of a few random projections.

    Attributes:
        sites: how many.
        rows: training rows a site.
        test_rows: test rows a site.
        features: of one row: a number, or a shape such as [1, 28, 28] for images.
        classes: at least 2.
        noise: standard deviation of what is added to each projection, whose own is 1.
        seed: equal seeds give equal rows.
    """

    sites: int = Field(default=4, ge=1)
    rows: int = Field(default=1000, ge=1)
    test_rows: int = Field(default=200, ge=1)
    features: int | list[int] = 20
    classes: int = Field(default=2, ge=2)
    noise: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0)

    @field_validator("features")
    @classmethod
    def _positive(cls, value: int | list[int]) -> int | list[int]:
        sizes = value if isinstance(value, list) else [value]
        if not sizes or min(sizes) < 1:
            raise ValueError("every size must be at least 1")
        return value

    def load(self, *, data_dir: Path | None) -> Dataset:
        """Draw each site's rows from a stream of its own, so that sites can be added."""
        shape = tuple(self.features) if isinstance(self.features, list) else (self.features,)
        size = prod(shape)
        teacher = np.random.default_rng([self.seed, 0]).standard_normal(
            (size, self.classes), dtype=np.float32
        ) / np.float32(np.sqrt(size))

        def draw(random: np.random.Generator, rows: int) -> Table:
            flat = random.standard_normal((rows, size), dtype=np.float32)
            noise = random.standard_normal((rows, self.classes), dtype=np.float32)
            labels = np.argmax(flat @ teacher + np.float32(self.noise) * noise, axis=1)
            return Table(flat.reshape(rows, *shape), labels.astype(np.int64))

        width = len(str(self.sites))
        sites = []
        for number in range(1, self.sites + 1):
            random = np.random.default_rng([self.seed, number])
            train, test = draw(random, self.rows), draw(random, self.test_rows)
            sites.append(SiteData(f"site-{number:0{width}d}", train, test))
        return Dataset("generated", classes=self.classes, shape=shape, sites=tuple(sites))
