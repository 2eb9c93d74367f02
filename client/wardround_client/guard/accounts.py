"""What each person has spent, by what the guard's log tells of all rounds and studies.

Who is the same person is known where one column names them. All that was spent before on people
whom another column named, or none, may have been spent on any person here, so it counts for each.
So whatever a site changes about its table, no account ever shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardround.learning.privacy.accountant import PrivacyAccount, account_of
from wardround.protocol.identifiers import StudyId, hex_of
from wardround_client.guard.book import Spent
from wardround_client.guard.people import Counts, PeopleStore, Persons


@dataclass(frozen=True, eq=False)
class Alike:
    """Rows of people whose accounts are equal.

    Attributes:
        rows: places in the table, int64, ascending.
        rows_each: how many of them are of one person.
        study: what the person spent in one study.
        home: and in all.
    """

    rows: npt.NDArray[np.int64]
    rows_each: int
    study: PrivacyAccount
    home: PrivacyAccount


def accounts_of(
    persons: Persons | None,
    count: int,
    group: str | None,
    spent: Sequence[Spent],
    study: StudyId,
    store: PeopleStore,
) -> list[Alike]:
    """Divide a table's rows by what their people have spent.

    Args:
        persons: whose each row is; None where no column tells, and all rows are alike.
        count: of rows.
        group: the column that tells.
        spent: what counts.
        study: the one whose account is asked for too.
        store: has the sets of people that ``spent`` names.
    Raises:
        LogError: a set is missing or altered.
    """
    if persons is None:
        of_row, rows_each = np.zeros(count, np.int64), np.ones(1, np.int64)
        unique: Persons = np.array([b""], "S32")
    else:
        unique, of_row, rows_each = np.unique(persons, return_inverse=True, return_counts=True)
    rows_then = {
        kind: _rows_then(unique, group if persons is not None else None, *kind, store)
        for kind in {(one.group, one.people) for one in spent}
    }
    kinds = np.unique(rows_each, return_inverse=True)[1]
    for rows in rows_then.values():
        # Two people stay alike only where they had equally many rows in every set.
        kinds = np.unique(np.stack([kinds, rows]), axis=1, return_inverse=True)[1]
    found = []
    for kind in range(int(kinds.max()) + 1):
        first = int(np.flatnonzero(kinds == kind)[0])
        taken = [(one, int(rows_then[one.group, one.people][first])) for one in spent]
        whole, own = (
            account_of(
                one.mechanism.of_person(rows)
                for one, rows in taken
                if rows and which in (None, one.key[0])
            )
            for which in (None, hex_of(study))
        )
        rows_of_kind = np.flatnonzero(kinds[of_row] == kind)
        found.append(Alike(rows_of_kind, int(rows_each[first]), own, whole))
    return found


def _rows_then(
    persons: Persons, group: str | None, named: str | None, people: str | None, store: PeopleStore
) -> Counts:
    """How many rows each person had in a set, or may have had."""
    if people is None:
        return np.ones(len(persons), np.int64)
    then = store.read(people)
    if named == group:
        return then.rows_of(persons)
    return np.full(len(persons), then.most_rows, np.int64)
