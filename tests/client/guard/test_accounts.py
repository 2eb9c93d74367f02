"""Whatever a site changes about its table, what a person has spent never shrinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.guard.test_budget import Desk, sourced, study
from wardround.learning.datasets.people import digests_of, person_of
from wardround.learning.datasets.table import Table
from wardround.learning.privacy.accountant import PrivacyAccount, account_of
from wardround.protocol.study import PrivacySpec
from wardround_client.errors import Refusal
from wardround_client.guard.accounts import accounts_of
from wardround_client.guard.people import PeopleStore, people_of, persons_of

STUDY = study("one")
#: Ways in which a table writes the same patient's number.
ENCODINGS: list[Callable[[int], object]] = [
    int, str, float, "{:05d}".format, " {} ".format, "{}.0".format, "{}e0".format,
]  # fmt: skip
#: Columns that may name people; None is a table in which none does.
COLUMNS = [None, "patient", "visit"]


@dataclass(frozen=True)
class Stated:
    """How a site presents some patients in one round."""

    patients: tuple[int, ...]
    order: int
    encoding: int
    column: str | None
    name: str

    def table(self) -> Table:
        random = np.random.default_rng(self.order)
        patients = random.permutation(self.patients).tolist()
        features = np.array([[patient, len(patients)] for patient in patients], np.float32)
        # Each row is another visit.
        shifts = range(100, 100 * (len(patients) + 1), 100)
        visits = shifts if self.column == "visit" else [0] * len(patients)
        numbers = [patient + visit for patient, visit in zip(patients, visits, strict=True)]
        written = [ENCODINGS[self.encoding](number) for number in numbers]
        groups = None if self.column is None else digests_of(written)
        return Table(features, np.zeros(len(patients), np.int64), groups)


presented = st.builds(
    Stated,
    patients=st.lists(st.integers(0, 11), min_size=1, max_size=20).map(tuple),
    order=st.integers(0, 99),
    encoding=st.integers(0, len(ENCODINGS) - 1),
    column=st.sampled_from(COLUMNS),
    name=st.sampled_from(["patients", "patients-2"]),
)


def steps(account: PrivacyAccount) -> Counter[float]:
    """Steps of each sample rate, times how many of the person's rows they concerned."""
    found: Counter[float] = Counter()
    for one in account.mechanisms:
        found[one.sample_rate] += one.steps * one.rows_each
    return found


@given(st.lists(presented, min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_account_when_a_table_is_presented_otherwise_never_shrinks(
    tmp_path_factory: pytest.TempPathFactory, history: list[Stated]
) -> None:
    folder = tmp_path_factory.mktemp("home")
    #: Rate and steps of each round, the rows of each patient in it, and whether it named them.
    rounds: list[tuple[float, int, Counter[int], bool]] = []
    most = 1
    for number, shown in enumerate(history, start=1):
        table = shown.table()
        group = shown.column
        desk = Desk(folder, {}, sourced(group=group, name=shown.name, min_rows=2))
        persons = None if group is None else persons_of(table.people)
        found = accounts_of(persons, len(table), group, desk.book.spent, STUDY.study, desk.people)
        patients = table.features[:, 0].astype(int)
        rows = Counter(patients.tolist())
        if group == "patient":
            most = max(most, *rows.values())
        true_cost: dict[int, Counter[float]] = {patient: Counter() for patient in range(12)}
        for rate, taken, rows_then, named in rounds:
            for patient, count in rows_then.items():
                # Where no patient is named, a site knows of no more rows than others had.
                true_cost[patient][rate] += taken * (count if named else min(count, most))
        assert sorted(row for one in found for row in one.rows.tolist()) == list(range(len(table)))
        for one in found:
            counted = steps(one.home)
            for patient in set(patients[one.rows].tolist()):
                if group == "visit" and most == 1:
                    continue  # as far as the site knows, visits are its patients
                for rate, spent in true_cost[patient].items():
                    assert counted[rate] >= spent
        desk.begin(STUDY, number, table)
        cost = desk.book.spent[-1].mechanism
        rounds.append((cost.sample_rate, cost.steps, rows, group == "patient"))
        desk.log.close()


@given(st.integers(0, 10**9))
def test_person_when_written_in_another_way_is_the_same(number: int) -> None:
    assert len({person_of(encoding(number)) for encoding in ENCODINGS}) == 1


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=30))
@settings(max_examples=50)
def test_people_when_written_and_read_are_equal(
    tmp_path_factory: pytest.TempPathFactory, rows: Sequence[bytes]
) -> None:
    """Also those whose digest ends in zeros."""
    rows = [*rows, rows[0][:-2] + b"\0\0", bytes(32)]
    people = people_of(persons_of(rows))
    folder = tmp_path_factory.mktemp("people")
    name = PeopleStore(folder).keep(people)
    again = PeopleStore(folder).read(name)
    assert again.encode() == people.encode()
    asked = [*rows, b"\x01" * 32]
    expected = [rows.count(one) for one in asked]
    assert again.rows_of(persons_of(asked)).tolist() == expected
    assert people.most_rows == max(expected)


def test_accounts_when_people_have_unlike_histories_are_apart(tmp_path: Path) -> None:
    data = sourced(group="patient")
    desk = Desk(tmp_path, {}, data)
    everybody = Stated(tuple(range(12)), 0, 0, "patient", "t").table()
    some = Stated(tuple(range(6)), 0, 0, "patient", "t").table()
    desk.begin(STUDY, 1, everybody)
    desk.begin(STUDY, 2, some)
    found = accounts_of(
        persons_of(everybody.people), 12, "patient", desk.book.spent, STUDY.study, desk.people
    )
    patients = {tuple(sorted(everybody.features[one.rows, 0].astype(int))) for one in found}
    assert patients == {tuple(range(6)), tuple(range(6, 12))}
    other = study("other")
    (whole,) = {
        sum(mechanism.steps for mechanism in one.home.mechanisms)
        for one in accounts_of(None, 12, None, desk.book.spent, other.study, desk.people)
    }
    assert whole == sum(one.mechanism.steps for one in desk.book.spent)


@pytest.mark.parametrize("group", ["visit", None])
@pytest.mark.parametrize("unit", ["row", "patient"])
def test_patients_when_another_column_names_them_keep_within_their_budget(
    tmp_path: Path, group: str | None, unit: Literal["row", "patient"]
) -> None:
    """Ten rows a patient, of which each is trained on as if it were another's."""
    private = PrivacySpec(noise_multiplier=20.0, max_grad_norm=1.0, delta=1e-3, unit=unit)
    approval, policy = study("one", private), {"max_epsilon": 12.0, "delta": 1e-6}
    visits = digests_of(range(1000, 1600))
    features, labels = np.zeros((600, 1), np.float32), np.arange(600) % 2
    named = Table(features, labels, digests_of(np.arange(600) // 10))
    other = Table(features, labels, None if group is None else visits)
    desk = Desk(tmp_path, policy, sourced(group="patient"))
    desk.begin(approval, 1, named)
    desk.log.close()
    desk = Desk(tmp_path, policy, sourced(group=group))
    with pytest.raises(Refusal, match="more than the 12 it allows"):
        for number in range(2, 60):
            desk.begin(approval, number, other)
    first, *others = (one.mechanism for one in desk.book.spent)
    each = [one.model_copy(update={"rows_each": 10}) for one in others]
    true = account_of([first.of_person(10), *each])
    assert true.epsilon(1e-6) <= 12.0
