"""From a site's table to what it trains on and what it measures on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.split import EPSILON
from wardround.learning.datasets.table import SiteData, Table
from wardround_client.sources.base import Place
from wardround_client.sources.cells import spread
from wardround_client.sources.errors import too_few_rows
from wardround_client.sources.rows import Rows, read_rows, row_digests
from wardround_client.sources.schema import Numeric, TableSchema
from wardround_client.sources.settings import DataSettings


def load_site_data(settings: DataSettings, place: Place) -> SiteData:
    """Read, check, divide and scale a site's table.

    The same rows give the same bits, from whatever source and in whatever order they come.

    Args:
        settings: ``[data]`` of the site.
        place: where the site is at home.
    Returns:
        Training and test rows; features float32, shape (n, settings.width).
    Raises:
        SourceError: as `read_rows`, or too few rows to train on or to measure on.
        DataError: no rows.
    """
    rows = read_rows(settings, place)
    train, test = divide(rows, settings.test_share, settings.seed)
    for what, part, needed in (("training rows", train, 2), ("test rows", test, 1)):
        if len(part) < needed:
            raise too_few_rows(f"{what} of {settings.source.title}", len(part), needed)
    scale = _Scale(settings, train)
    return SiteData(settings.name, scale.table(train), scale.table(test))


def divide(
    rows: Rows, test_share: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Divide rows into training and test rows, each in an order of its own.

    A row's side and place follow from its content and the seed alone. So a row that was measured
    on is never trained on later, as the table grows; equal rows are on one side; and a table with
    one row more has the same training rows and at most one more, as differential privacy assumes.

    Args:
        rows: the table.
        test_share: expected share of test rows, in (0, 1).
        seed: of the division.
    Returns:
        Training and test rows, float64, shape (., features + 1).
    """
    digests = row_digests(rows, seed)
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    is_test = digests[order, 0] < np.uint64(int(test_share * 2.0**64))
    values = rows.values[order]
    return values[~is_test], values[is_test]


class _Scale:
    """Centre and width of each numeric column."""

    def __init__(self, schema: TableSchema, train: npt.NDArray[np.float64]) -> None:
        self._schema = schema
        count = len(schema.features)
        self._centre, self._width = np.zeros(count), np.ones(count)
        for at, feature in enumerate(schema.features):
            if not isinstance(feature, Numeric):
                continue
            if schema.scaling == "rows":
                self._centre[at] = train[:, at].mean()
                self._width[at] = train[:, at].std(ddof=1) + EPSILON
            elif schema.scaling == "range":
                assert feature.range is not None  # the schema has them all
                low, high = feature.range
                self._centre[at] = low / 2 + high / 2
                self._width[at] = high / 2 - low / 2

    def table(self, values: npt.NDArray[np.float64]) -> Table:
        scaled = (values[:, :-1] - self._centre) / self._width
        columns = [
            spread(feature, scaled[:, at]) for at, feature in enumerate(self._schema.features)
        ]
        features = np.concatenate(columns, axis=1).astype(np.float32)
        return Table(features, values[:, -1].astype(np.int64))
