"""A declared table, read whole and checked: numbers in an order of their own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardround.learning.errors import no_rows
from wardround_client.sources.base import Place
from wardround_client.sources.cells import feature_reader, label_reader
from wardround_client.sources.errors import schema_mismatch, too_few_rows, too_large
from wardround_client.sources.settings import DataSettings


@dataclass(frozen=True, eq=False)
class Rows:
    """What a site's table holds, before scaling and division.

    Attributes:
        values: float64, shape (n, features + 1), without NaN. A number, a category's place or
            0 and 1 for each feature; last the class.
        dropped: rows left out because a value was missing.
        missing: missing values by column, over all rows.
    """

    values: npt.NDArray[np.float64]
    dropped: int
    missing: dict[str, int]

    def __len__(self) -> int:
        return len(self.values)


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
    readers = [feature_reader(feature, settings.missing) for feature in settings.features]
    readers.append(label_reader(settings.label, settings.missing))
    parts = []
    seen = 0
    for batch in settings.source.read(settings.columns, settings.ignore, settings.max_rows, place):
        part = np.stack([reader.read(batch[reader.column]) for reader in readers], axis=1)
        seen += len(part)
        if seen > settings.max_rows:
            raise too_large(settings.source.title, "rows", settings.max_rows, "max_rows")
        parts.append(part[~np.isnan(part).any(axis=1)])
    refused = settings.on_missing == "error"
    problems = [one for reader in readers for one in reader.problems(missing_is_one=refused)]
    if problems:
        raise schema_mismatch(settings.source.title, problems)
    values = np.concatenate(parts) if parts else np.empty((0, len(readers)))
    if not len(values):
        raise no_rows(settings.source.title)
    if len(values) < settings.min_rows:
        raise too_few_rows(settings.source.title, len(values), settings.min_rows)
    missing = {reader.column: reader.absent for reader in readers}
    return Rows(values, seen - len(values), missing)


def row_digests(rows: Rows, seed: int) -> npt.NDArray[np.uint64]:
    """Draw two numbers for each row from its own content.

    Returns:
        uint64, shape (n, 2), uniform. Equal rows have equal numbers.
    """
    key = seed.to_bytes(8, "little")
    digests = b"".join(
        hashlib.blake2b(row.tobytes(), digest_size=16, key=key).digest() for row in rows.values
    )
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
