"""Whose a row is: one digest a person, from every spelling that a table may give a number."""

from __future__ import annotations

import datetime
import hashlib
import unicodedata
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.learning.datasets.people import digests_of, person_of
from wardround.learning.datasets.table import SiteData, Table, load_table, save_table
from wardround.learning.errors import DataError

UUID = uuid.UUID("0d4f2a6e-7c1b-4e5a-9f3d-8b6c5a4e3d2f")
SPELT = [
    [17, 17.0, Decimal(17), Decimal("17.00"), "17", " 17 ", "17.0", "0017", "1.7e1", np.int64(17)],
    [2**53 + 1, Decimal(2**53 + 1), str(2**53 + 1), f"{2**53 + 1}.0"],
    [0, "0", "-0", -0.0, "0.00", "0E5"],
    [250.1, "250.10", "250,100", Decimal("250.1"), np.float32(250.1), 250_100],
    [2024.17, "2024.170", "2024,17", "2,024.17", Decimal("2024.17"), np.float64(2024.17)],
    ["P-0017", " P-0017", "p-0017", "\u00a0P-0017\u00a0", "\uff30-\uff10017", '="P-0017"'],
    [1000, '="1000"', "\uff11\uff10\uff10\uff10", '="01000"'],
    ["M\u00fcller", "Mu\u0308ller"],
    [UUID, str(UUID), str(UUID).upper(), UUID.hex, f"{{{UUID}}}", f"urn:uuid:{UUID}"],
    [
        datetime.date(1970, 1, 2),
        "1970-01-02",
        "1970-01-02 00:00:00",
        "1970-01-02T00:00:00.000Z",
        datetime.datetime(1970, 1, 2),
    ],
    [True, "true"],
]


@pytest.mark.parametrize("spelt", SPELT)
def test_person_when_spelt_otherwise_is_the_same(spelt: list[object]) -> None:
    assert len({person_of(value) for value in spelt}) == 1


def test_people_of_other_values_are_others() -> None:
    others = [spelt[0] for spelt in SPELT] + [
        2**53,
        "P-017",
        "17a",
        "1970-01-02 00:01",
        0.1 + 0.2,
        0.3,
    ]
    assert len({person_of(value) for value in others}) == len(others)


@given(st.integers(-(10**40), 10**40), st.integers(0, 5))
def test_person_of_a_long_number_is_never_rounded(number: int, zeros: int) -> None:
    padded = f"{number}.{'0' * zeros}"
    assert person_of(number) == person_of(padded) == person_of(Decimal(number))
    assert person_of(number) != person_of(number + 1)


@given(st.from_regex(r"[A-Za-zÀ-ÖØ-öø-ÿ]{1,4}[-/ ]?[0-9]{1,6}", fullmatch=True))
def test_person_known_by_text_is_the_same_in_every_export(text: str) -> None:
    wide = "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)
    spelt = [text, text.upper(), text.lower(), f"\u00a0{text} ", f'="{text}"', wide]
    spelt += [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    assert len({person_of(one) for one in spelt}) == 1


@given(st.integers(-(2**53), 2**53))
def test_person_is_the_same_with_a_decimal_comma(number: int) -> None:
    for text in (f"{number},0", f"{number}", f"{number},00"):
        assert person_of(text) == person_of(float(number))


#: Marks of the decimals, and between figures in threes, as countries and programs write them.
MARKS = [(".", ""), (",", ""), (".", ","), (",", "."), (".", " "), (",", "\u202f"), (".", "\u2019")]


def written(number: Decimal, marks: tuple[str, str]) -> str:
    decimal, threes = marks
    return f"{number:,f}".translate(str.maketrans({",": threes, ".": decimal}))


@given(st.decimals(-(10**12), 10**12, places=3), st.sampled_from(MARKS), st.sampled_from(MARKS))
def test_person_is_the_same_by_every_mark(
    number: Decimal, one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert person_of(written(number, one)) == person_of(written(number, other)) == person_of(number)


@given(st.integers(-(10**12), 10**12), st.sampled_from(MARKS))
def test_person_of_a_whole_number_is_the_same_with_its_figures_in_threes(
    number: int, marks: tuple[str, str]
) -> None:
    text = written(Decimal(number), marks)
    # A database that keeps three decimals writes 12 as 12.000, and so few write 12000.
    as_decimals = 1000 <= abs(number) < 10**6 and number % 1000 == 0 and marks[1] in {".", ","}
    assert (person_of(text) == person_of(number)) is not as_decimals


@pytest.mark.parametrize(
    "text", ["01.02.2024", "756.1234.5678.97", "1.23.456", "1,2,3", "1.234.56", "1.234.567-8"]
)
def test_person_known_by_figures_that_are_no_number_is_known_by_text(text: str) -> None:
    assert person_of(text) == hashlib.sha256(text.encode()).digest()


@pytest.mark.parametrize(
    ("value", "spelling"),
    [("0017", "17"), (1000, "1E3"), ("1000.0", "1E3"), ("P-0017", "p-0017"), (-25, "-25")],
)
def test_person_is_known_by_the_digest_of_earlier_accounts(value: object, spelling: str) -> None:
    assert person_of(value) == hashlib.sha256(spelling.encode()).digest()


def test_person_when_the_exponent_is_hostile_costs_nothing() -> None:
    for text in ("1E999999999", "1E99999999999999999999", "9" * 100_000):
        assert len(person_of(text)) == 32


def table(count: int = 6, groups: Any = None) -> Table:
    features = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    return Table(features, np.zeros(count, np.int64), groups)


def test_table_without_groups_has_a_person_a_row() -> None:
    rows = table()
    assert len(set(rows.people)) == rows.person_count == 6
    assert all(len(person) == 32 for person in rows.people)
    again = Table(rows.features[::-1], rows.labels)
    assert again.people == rows.people[::-1]


def test_table_with_groups_counts_people() -> None:
    rows = table(groups=digests_of([1, 1, 2, "2", 3, 3.0]))
    assert rows.person_count == 3
    assert rows.people[0] == rows.people[1] == person_of("1")
    part = rows.part(np.array([True, False, True, True, False, False]))
    assert part.people == (person_of(1), person_of(2), person_of(2))
    assert rows.part(np.array([4])).people == (person_of(3),)
    assert table(0, digests_of([])).person_count == 0


def test_classes_are_counted_in_people() -> None:
    labels = np.array([0, 0, 1, 1, 1, 0])
    features = np.zeros((6, 2), np.float32)
    assert Table(features, labels).class_counts.tolist() == [3, 3]
    # The third patient has rows of both classes.
    grouped = Table(features, labels, digests_of("aabbcc"))
    assert grouped.class_counts.tolist() == [2, 2]
    assert Table(features, np.zeros(6, np.int64)).class_counts.tolist() == [6, 0]


def test_table_with_groups_when_saved_is_read_again(tmp_path: Path) -> None:
    rows = table(groups=digests_of("aabbcc"))
    save_table(rows, tmp_path / "t.npz")
    assert load_table(tmp_path / "t.npz").people == rows.people


@pytest.mark.parametrize(
    "groups",
    [
        np.array([7, 7, 8, 8, 9, 9]),
        np.array([7, 7, 8, 8, 9, 9], np.uint8),
        np.array(["7", "7.0", "8", "08", "9", " 9"]),
    ],
)
def test_prepared_table_names_people_by_numbers_or_text(tmp_path: Path, groups: Any) -> None:
    rows = table()
    np.savez(tmp_path / "t.npz", features=rows.features, labels=rows.labels, groups=groups)
    people = load_table(tmp_path / "t.npz").people
    assert people == tuple(person_of(number) for number in (7, 7, 8, 8, 9, 9))


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (np.array([1.0] * 6), "neither whole numbers nor text"),
        (np.array([1, 2]), "shape"),
        (np.zeros((6, 31), np.uint8), "shape"),
        (np.array(["a", "b", "c", "d", "e", " "]), "row 5 has no group"),
        (np.array([None] * 6), "allow_pickle"),
    ],
)
def test_prepared_table_whose_groups_are_none_is_refused(
    tmp_path: Path, groups: Any, reason: str
) -> None:
    rows = table()
    np.savez(tmp_path / "t.npz", features=rows.features, labels=rows.labels, groups=groups)
    with pytest.raises(DataError, match=reason):
        load_table(tmp_path / "t.npz")


def test_site_with_a_person_on_both_sides_is_refused() -> None:
    one, other = digests_of("aabbcc"), digests_of("ddeeff")
    data = SiteData("ward", table(groups=one), table(groups=other))
    assert data.people == data.train.people
    with pytest.raises(DataError, match="3 people"):
        SiteData("ward", table(groups=one), table(groups=one))
    with pytest.raises(DataError, match="neither"):
        SiteData("ward", table(groups=one), table())
