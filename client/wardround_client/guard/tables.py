"""A site's own table, as its guard reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wardround.learning.datasets.table import SiteData, load_table
from wardround.learning.errors import DataError, no_rows
from wardround_client.errors import RefusedForNow
from wardround_client.settings import HomeSettings, PreparedTables
from wardround_client.sources.base import Place
from wardround_client.sources.errors import SourceError
from wardround_client.sources.prepare import load_site_data


@dataclass(frozen=True)
class TableFacts:
    """What the guard keeps of a table: counts, and a digest by which the same rows are known.

    Attributes:
        examples: training rows.
        tests: rows to measure on.
        rows: SHA-256 of the training rows, in hexadecimal.
    """

    examples: int
    tests: int
    rows: str


def load_home_data(
    folder: Path, settings: HomeSettings, environment: Mapping[str, str]
) -> SiteData:
    """Read a site's training and test rows; a database's password is in the environment.

    Raises:
        SourceError: the table does not fit its schema, or cannot be reached.
        DataError: it has no rows, or a prepared one is damaged or exceeds its range.
    """
    data = settings.data
    if isinstance(data, PreparedTables):
        found = SiteData(data.name, load_table(folder / data.train), load_table(folder / data.test))
        for what, table in (("the training table", found.train), ("the test table", found.test)):
            if not len(table):
                raise no_rows(what)
            if data.range is not None:
                table.check_range(*data.range)
        return found
    return load_site_data(data, Place(folder, environment))


def read_tables(folder: Path, settings: HomeSettings, environment: Mapping[str, str]) -> SiteData:
    """Read a site's tables for the guard.

    Raises:
        RefusedForNow: ``table-unusable``; gives the reason, without a value of a row.
    """
    try:
        return load_home_data(folder, settings, environment)
    except (SourceError, DataError) as error:
        words = f"the site's table cannot be used: {error}"
        raise RefusedForNow("table-unusable", words) from None


def facts_of(data: SiteData) -> TableFacts:
    """Keep nothing of a table but facts."""
    digest = hashlib.sha256(data.train.features.tobytes())
    digest.update(data.train.labels.tobytes())
    return TableFacts(len(data.train), len(data.test), digest.hexdigest())
