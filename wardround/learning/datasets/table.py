"""A site's rows, in memory and as a file that the site keeps for itself."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wardround.host.durable import replacing
from wardround.host.reason import reason_of
from wardround.learning.datasets.people import DIGEST_BYTES, Digests, digests_of
from wardround.learning.errors import DataError, no_table

#: What zipfile, zlib and numpy raise for bytes that are no archive of arrays: MemoryError for a
#: shape that no file holds, RuntimeError for an encrypted archive.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    MemoryError,
    RuntimeError,
    ValueError,
    EOFError,
    OSError,
)


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that a site learns from, or measures on.

    Attributes:
        features: float32, shape (n, ...), finite. One example along the first axis.
        labels: int64, shape (n,), each >= 0.
        groups: whose each row is: uint8, shape (n, 32), equal for rows of one person. None where
            the site names no column for it.

    Raises:
        DataError: another dtype or shape, NaN, infinity, or a negative label.
    """

    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    groups: Digests | None = None

    def __post_init__(self) -> None:
        reason = _fault(self.features, self.labels, self.groups)
        if reason is not None:
            raise no_table("the given arrays", reason)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def people(self) -> tuple[bytes, ...]:
        """Whose each row is: its group's digest, or SHA-256 of the row's bytes where none is."""
        if self.groups is not None:
            return tuple(map(bytes, self.groups))
        pairs = zip(self.features, self.labels, strict=True)
        return tuple(sha256(row.tobytes() + label.tobytes()).digest() for row, label in pairs)

    @cached_property
    def persons(self) -> npt.NDArray[np.int64]:
        """Whose each row is, by numbers from 0 in order of appearance; shape (n,).

        Numbers tell nothing of who a person is. Each row has its own where no group is declared.
        """
        if self.groups is None:
            return np.arange(len(self))
        numbers: dict[bytes, int] = {}
        return np.array([numbers.setdefault(one, len(numbers)) for one in self.people], np.int64)

    @cached_property
    def person_count(self) -> int:
        """How many people the rows are of; rows where no group is declared."""
        return len(self) if self.groups is None else len(set(self.people))

    @cached_property
    def class_counts(self) -> npt.NDArray[np.int64]:
        """How many people each class has rows of, rows where no group is declared; at least two."""
        if self.groups is None:
            return np.bincount(self.labels, minlength=2)
        pairs = set(zip(self.labels.tolist(), self.people, strict=True))
        return np.bincount([label for label, _ in pairs], minlength=2)

    def part(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Table:
        """Give some of the rows: those of a mask of shape (n,), or by their places."""
        groups = None if self.groups is None else self.groups[rows]
        return Table(self.features[rows], self.labels[rows], groups)

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

    def within(self, low: float, high: float) -> Table:
        """Move features beyond two ends to these."""
        features = np.clip(self.features, np.float32(low), np.float32(high))
        return replace(self, features=features)

    def check_range(self, low: float, high: float) -> None:
        """Refuse features beyond the ends that a site declares for all of them.

        Raises:
            DataError: carries in how many rows, and no value.
        """
        outside = (self.features < np.float32(low)) | (self.features > np.float32(high))
        rows = int(outside.reshape(len(self), -1).any(axis=1).sum())
        if rows:
            raise DataError(
                f"{rows} rows have a feature outside of the declared {low:g} .. {high:g}: prepare "
                "them by that range, or declare the range by which they were prepared."
            )


@dataclass(frozen=True, eq=False)
class SiteData:
    """What one hospital has: rows to learn from and rows to measure on.

    Raises:
        DataError: groups on one side only, or a group on both.
    """

    name: str
    train: Table
    test: Table

    def __post_init__(self) -> None:
        if (self.train.groups is None) != (self.test.groups is None):
            raise DataError(
                f"one table of {self.name} names the person of each row and the other does not: "
                "give both an array groups, or neither."
            )
        if self.train.groups is not None:
            both = len(set(self.train.people) & set(self.test.people))
            if both:
                raise DataError(
                    f"{both} people of {self.name} are in the training rows and in the test rows: "
                    "keep all rows of a person on one side."
                )

    @property
    def people(self) -> tuple[bytes, ...]:
        """Whose each training row is; 32 bytes each, see `Table.people`."""
        return self.train.people


def save_table(table: Table, path: Path) -> None:
    """Write a table as ``.npz``; a reader sees the whole file or none.

    Args:
        table: the rows.
        path: ends in ``.npz``; its folder exists.
    """
    arrays: dict[str, Any] = {"features": table.features, "labels": table.labels}
    if table.groups is not None:
        arrays["groups"] = table.groups
    with replacing(path) as file:
        np.savez(file, **arrays)


def load_table(path: Path) -> Table:
    """Read and check a table written by `save_table`; nothing is ever unpickled.

    A third array, ``groups``, names the person of each row: whole numbers or text of shape (n,), or
    digests as `Table` has them.

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
                if sorted({*arrays.files, "groups"}) != ["features", "groups", "labels"]:
                    raise no_table(str(path), f"holds {sorted(arrays.files)}")
                features, labels = arrays["features"], arrays["labels"]
                groups = _digests(arrays["groups"], path) if "groups" in arrays.files else None
    except FileNotFoundError:
        raise DataError(f"{path} is missing: prepare the site's data again.") from None
    except _DAMAGED as exc:
        raise no_table(str(path), reason_of(exc)) from exc
    reason = _fault(features, labels, groups)
    if reason is not None:
        raise no_table(str(path), reason)
    return Table(features, labels, groups)


def _digests(groups: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """Digest what an archive names people by; what is of no such kind is given back as it is."""
    if groups.ndim != 1 or groups.dtype.kind not in "iuU":
        return groups
    values = groups.tolist()
    for row, value in enumerate(values):
        if isinstance(value, str) and not value.strip():
            raise no_table(str(path), f"row {row} has no group")
    return digests_of(values)


def _fault(features: object, labels: object, groups: object) -> str | None:
    """Return the reason why arrays are no table, or None."""
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
    if groups is not None:
        expected = (len(labels), DIGEST_BYTES)
        if not isinstance(groups, np.ndarray) or groups.dtype != np.uint8:
            return "groups are neither whole numbers nor text nor digests"
        if groups.shape != expected:
            return f"groups have shape {groups.shape}, labels {labels.shape}"
    return None
