"""A site's rows, in memory and as a file that the site keeps for itself."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wardround.host.durable import replacing
from wardround.host.reason import reason_of
from wardround.learning.errors import DataError, no_table


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that a site learns from, or measures on.

    Attributes:
        features: float32, shape (n, ...), finite. One example along the first axis.
        labels: int64, shape (n,), each >= 0.

    Raises:
        DataError: another dtype or shape, NaN, infinity, or a negative label.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        reason = _fault(self.features, self.labels)
        if reason is not None:
            raise no_table("the given pair of arrays", reason)

    def __len__(self) -> int:
        return len(self.labels)

    def check_classes(self, classes: int) -> None:
        """Refuse labels that a model of so many classes has no output for.

        Raises:
            DataError: carries the first such row.
        """
        bad = np.flatnonzero(self.labels >= classes)
        if bad.size:
            row = int(bad[0])
            raise DataError(
                f"row {row} has label {self.labels[row]}, not in 0 .. {classes - 1}: "
                "correct the label or use a model with more classes."
            )


@dataclass(frozen=True, eq=False)
class SiteData:
    """What one hospital has: rows to learn from and rows to measure on."""

    name: str
    train: Table
    test: Table


def save_table(table: Table, path: Path) -> None:
    """Write a table as ``.npz``; a reader sees the whole file or none.

    Args:
        table: the rows.
        path: ends in ``.npz``; its folder exists.
    """
    with replacing(path) as file:
        np.savez(file, features=table.features, labels=table.labels)


def load_table(path: Path) -> Table:
    """Read and check a table written by `save_table`; nothing is ever unpickled.

    Args:
        path: the ``.npz`` file.
    Raises:
        DataError: there is no such file; damaged, or not a table.
    """
    try:
        # A handle of our own, because numpy leaves its own open when the archive is damaged.
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise no_table(str(path), "not an .npz archive")
            with arrays:
                if sorted(arrays.files) != ["features", "labels"]:
                    raise no_table(str(path), f"holds {sorted(arrays.files)}")
                features, labels = arrays["features"], arrays["labels"]
    except FileNotFoundError:
        raise DataError(f"{path} is missing: prepare the site's data again.") from None
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as exc:
        raise no_table(str(path), reason_of(exc)) from exc
    reason = _fault(features, labels)
    if reason is not None:
        raise no_table(str(path), reason)
    return Table(features, labels)


def _fault(features: object, labels: object) -> str | None:
    """Return the reason why two arrays are no table, or None."""
    if not isinstance(features, np.ndarray) or not isinstance(labels, np.ndarray):
        return "not arrays"
    if features.dtype != np.float32 or labels.dtype != np.int64:
        return f"features are {features.dtype}, labels {labels.dtype}"
    if features.ndim < 2 or labels.ndim != 1 or len(features) != len(labels):
        return f"features have shape {features.shape}, labels {labels.shape}"
    if not np.isfinite(features).all():
        rows = np.flatnonzero(~np.isfinite(features).reshape(len(features), -1).all(axis=1))
        return f"row {rows[0]} has a feature that is not finite"
    if labels.size and labels.min() < 0:
        return f"row {int(np.argmin(labels))} has the negative label {labels.min()}"
    return None
