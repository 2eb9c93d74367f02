"""What a data set is to wardround: named sites, each with rows of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from wardround.learning.datasets.table import SiteData


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set divided over sites.

    Attributes:
        name: as in the registry.
        classes: labels lie in 0 .. classes - 1.
        shape: of one row's features, for instance (13,) or (1, 28, 28).
        sites: at least one, in a fixed order, names distinct.
    """

    name: str
    classes: int
    shape: tuple[int, ...]
    sites: tuple[SiteData, ...]


class DatasetSource(BaseModel, ABC):
    """Where a data set comes from; its fields are the arguments that a scenario may give."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    #: Whether its rows come from files that a user may have.
    reads_files: ClassVar[bool] = False

    @abstractmethod
    def load(self, *, data_dir: Path | None) -> Dataset:
        """Make every site's rows: the same for the same arguments, on every machine.

        Args:
            data_dir: folder with files that the user already has; None where it reads none.
        Raises:
            DataError: the rows cannot be had, or not divided as asked.
        """
