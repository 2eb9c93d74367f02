"""From a site's table to what it trains on and what it measures on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.people import Digests
from wardround.learning.datasets.split import EPSILON
from wardround.learning.datasets.table import SiteData, Table
from wardround_client.sources.base import Place
from wardround_client.sources.cells import spread
from wardround_client.sources.errors import SourceError, not_divided
from wardround_client.sources.rows import Rows, drawn_numbers, read_rows
from wardround_client.sources.schema import Numeric, TableSchema
from wardround_client.sources.settings import DataSettings

#: Of rows, by their numbers in the table.
Places = npt.NDArray[np.int64]
#: With fewer kinds of rows than this, no share of test rows divides them surely.
_FEW_KINDS = 10


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
    train, test = divide_enough(rows, settings)
    scale = _Scale(settings, rows.values[train])

    def table(part: Places) -> Table:
        groups = None if rows.groups is None else rows.groups[part]
        return scale.table(rows.values[part], groups)

    return SiteData(settings.name, table(train), table(test))


def divide(rows: Rows, test_share: float, seed: int) -> tuple[Places, Places]:
    """Divide rows into training and test rows, each in an order of its own.

    A patient's side follows from the patient's number and the seed alone, and where no column has
    it, a row's from its content. So a patient who was measured on is never trained on later, as the
    table grows. Equal rows are in one place; and a table with one row more has the same training
    rows and at most one more, as differential privacy assumes.

    Args:
        rows: the table.
        test_share: expected share of test rows, in (0, 1).
        seed: of the division.
    Returns:
        Places of the training and of the test rows.
    """
    drawn = drawn_numbers((row.tobytes() for row in rows.values), seed)
    keys = [drawn[:, 1], drawn[:, 0]]
    side = drawn[:, 0]
    if rows.groups is not None:
        patients = drawn_numbers(map(bytes, rows.groups), seed)
        side = patients[:, 0]
        keys = [patients[:, 0], *keys]
    order = np.lexsort(keys)
    is_test = side[order] < np.uint64(int(test_share * 2.0**64))
    return order[~is_test], order[is_test]


def divide_enough(rows: Rows, settings: DataSettings) -> tuple[Places, Places]:
    """Divide a site's rows as it declares; each patient counts once, or each row.

    Raises:
        SourceError: fewer than two to train on, or none to measure on; tells why.
    """
    train, test = divide(rows, settings.test_share, settings.seed)
    enough = _units(rows, train) >= 2 and _units(rows, test) >= 1
    if not enough:
        raise _not_divided(rows, settings, train, test)
    return train, test


def _units(rows: Rows, part: Places) -> int:
    return len(part) if rows.groups is None else len(np.unique(rows.groups[part], axis=0))


def _not_divided(rows: Rows, settings: DataSettings, train: Places, test: Places) -> SourceError:
    """Tell whether the rows are too much alike, or the share leaves a side empty."""
    what = "rows" if rows.groups is None else "patients"
    kinds = len(np.unique(rows.values if rows.groups is None else rows.groups, axis=0))
    sides = f"{_units(rows, train)} {what} to train on and {_units(rows, test)} to measure on"
    change = f"{'lower' if len(test) else 'raise'} test_share, which is {settings.test_share:g}"
    if kinds >= _FEW_KINDS:
        return not_divided(settings.source.title, sides, "The share leaves a side empty", change)
    alike = "Equal rows" if rows.groups is None else "All rows of one patient"
    why = f"{alike} are on the same side, and in all {kinds} are different"
    more = f"give the site more different {what}"
    remedy = more if kinds == 1 else f"{more}, or {change}"
    return not_divided(settings.source.title, sides, why, remedy)


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

    def table(self, values: npt.NDArray[np.float64], groups: Digests | None) -> Table:
        scaled = (values[:, :-1] - self._centre) / self._width
        columns = [
            spread(feature, scaled[:, at]) for at, feature in enumerate(self._schema.features)
        ]
        features = np.concatenate(columns, axis=1).astype(np.float32)
        return Table(features, values[:, -1].astype(np.int64), groups)
