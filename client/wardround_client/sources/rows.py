"""A declared table, read whole and checked: numbers in an order of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.people import Digests, digests_of
from wardround.learning.errors import no_rows
from wardround_client.sources.base import Place
from wardround_client.sources.cells import (
    ColumnReader,
    GroupReader,
    Missing,
    feature_reader,
    label_reader,
)
from wardround_client.sources.errors import schema_mismatch, too_few, too_large
from wardround_client.sources.settings import DataSettings


@dataclass(frozen=True, eq=False)
class Rows:
    """What a site's table holds, before scaling and division.

    Attributes:
        values: float64, shape (n, features + 1), without NaN. A number, a category's place or
            0 and 1 for each feature; last the class.
        dropped: rows left out because a value was missing.
        missing: missing values by column, over all rows.
        groups: the patient of each row, uint8, shape (n, 32); None where no column names them.
    """

    values: npt.NDArray[np.float64]
    dropped: int
    missing: dict[str, int]
    groups: Digests | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def units(self) -> int:
        """What minima count: patients where a column names them, else rows."""
        return len(self) if self.groups is None else len(set(map(bytes, self.groups)))


def read_rows(settings: DataSettings, place: Place) -> Rows:
    """Read a site's table and check every cell.

    Args:
        settings: ``[data]`` of the site.
        place: where the site is at home.
    Raises:
        SourceError: columns or cells other than declared, with the number of rows of each kind;
            fewer rows than ``min_rows``; unreachable, damaged, or too large.
        DataError: no rows, or none without a missing value.
    """
    mark = settings.source.decimal_mark
    absent = Missing(settings.missing, mark)
    readers = [feature_reader(feature, absent, mark) for feature in settings.features]
    readers.append(label_reader(settings.label, absent, mark))
    patients = None if settings.group is None else GroupReader(settings.group, mark, absent)
    parts, groups = [np.empty((0, len(readers)))], [digests_of([])]
    seen = 0
    for batch in settings.source.read(settings.columns, settings.ignore, settings.max_rows, place):
        part = np.stack([reader.read(batch[reader.column]) for reader in readers], axis=1)
        seen += len(part)
        if seen > settings.max_rows:
            raise too_large(settings.source.title, "rows", settings.max_rows, "max_rows")
        whole = ~np.isnan(part).any(axis=1)
        if patients is not None:
            named, has_patient = patients.read(batch[patients.column])
            whole &= has_patient
            groups.append(named[whole])
        parts.append(part[whole])
    every: list[ColumnReader | GroupReader] = [*readers]
    if patients is not None:
        every.append(patients)
    refused = settings.on_missing == "error"
    problems = [one for reader in every for one in reader.problems(missing_is_one=refused)]
    if problems:
        raise schema_mismatch(settings.source.title, problems)
    values = np.concatenate(parts)
    found = Rows(
        values,
        seen - len(values),
        {reader.column: reader.absent for reader in every},
        None if patients is None else np.concatenate(groups),
    )
    if not len(found):
        raise no_rows(settings.source.title)
    if found.units < settings.min_rows:
        what = "rows" if patients is None else "patients"
        raise too_few(settings.source.title, what, found.units, settings.min_rows)
    return found


def drawn_numbers(contents: Iterable[bytes], seed: int) -> npt.NDArray[np.uint64]:
    """Draw two numbers for each content, from itself and the seed alone.

    Returns:
        uint64, shape (n, 2), uniform. Equal contents have equal numbers.
    """
    key = seed.to_bytes(8, "little")
    digests = [hashlib.blake2b(one, digest_size=16, key=key).digest() for one in contents]
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(len(digests), 2)
