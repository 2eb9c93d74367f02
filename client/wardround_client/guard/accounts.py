"""What each person has spent, by what the guard's log tells of all rounds and studies.

Who is the same person is known where one column names them. All that was spent before on people
whom another column named, or none, may have been spent on any person here, so it counts for each.
Of several columns the one by which a person has the most rows is believed to name people. By any
other, such as a visit's number, a person may be as many as that: each is charged for as many, and
for all that was spent on any patient. So no change to a table makes an account smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardround.learning.privacy.accountant import Mechanism, PrivacyAccount, account_of
from wardround.protocol.identifiers import StudyId, hex_of
from wardround_client.guard.book import Spent
from wardround_client.guard.people import Counts, People, PeopleStore, Persons, merged


@dataclass(frozen=True, eq=False)
class Alike:
    """Rows of people whose accounts are equal.

    Attributes:
        rows: places in the table, int64, ascending.
        rows_each: how many of them are of one person.
        least: of how many they are charged at least, since a person may be as many of them.
        study: what the person spent in one study.
        home: and in all.
    """

    rows: npt.NDArray[np.int64]
    rows_each: int
    least: int
    study: PrivacyAccount
    home: PrivacyAccount

    def cost(self, mechanism: Mechanism) -> Mechanism:
        """What a mechanism costs each of these people."""
        return _cost(mechanism, self.rows_each, self.least)


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
    sets = {(one.group, one.people) for one in spent}
    most = {group: int(rows_each.max())}
    for column, people in sets:
        in_set = 1 if people is None else store.read(people).most_rows
        most[column] = max(most.get(column, 1), in_set)
    largest = max(most.values())
    least = {column: 1 if known == largest else largest for column, known in most.items()}
    believed = group if least[group] == 1 else None
    rows_then = {kind: _rows_then(unique, believed, *kind, store) for kind in sets}
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
                _cost(one.mechanism, rows, least[one.group])
                for one, rows in taken
                if rows and which in (None, one.key[0])
            )
            for which in (None, hex_of(study))
        )
        rows_of_kind = np.flatnonzero(kinds[of_row] == kind)
        found.append(Alike(rows_of_kind, int(rows_each[first]), least[group], own, whole))
    return found


def _cost(mechanism: Mechanism, rows: int, least: int) -> Mechanism:
    one = mechanism.of_person(rows)
    return one.model_copy(update={"rows_each": max(one.rows_each, least)})


def booked_people(spent: Sequence[Spent], store: PeopleStore) -> People | None:
    """Give all patients booked by the last line's column, each with the most rows it ever had.

    Returns:
        None where the last line has no column.
    Raises:
        LogError: a set is missing or altered.
    """
    group = spent[-1].group
    if group is None:
        return None
    names = {one.people for one in spent if one.group == group and one.people}
    return merged([store.read(name) for name in sorted(names)])


def booked_accounts(spent: Sequence[Spent], study: StudyId, store: PeopleStore) -> list[Alike]:
    """Divide all booked patients by what they have spent, those outside today's table included.

    Raises:
        LogError: a set is missing or altered.
    """
    if not spent:
        return []
    people = booked_people(spent, store)
    persons = None if people is None else np.repeat(people.persons, people.rows)
    count = 1 if persons is None else len(persons)
    return accounts_of(persons, count, spent[-1].group, spent, study, store)


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
