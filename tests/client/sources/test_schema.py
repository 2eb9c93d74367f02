from __future__ import annotations

from typing import Any

import pytest

from tests.client.sources.tables import settings
from wardround.protocol.documents import parse_toml, validate_form
from wardround.protocol.errors import SpecificationError
from wardround_client.sources.settings import DataSettings

DATA = """
name = "patients"
on_missing = "drop"
missing = ["", "?"]
ignore = ["patient"]
test_share = 0.2
seed = 7

[source]
type = "csv"
path = "patients.csv"

[label]
column = "outcome"
classes = [[0], [1, 2, 3, 4]]

[[features]]
name = "age"
type = "numeric"
range = [0, 120]
unit = "years"

[[features]]
name = "pain"
type = "category"
categories = ["none", "mild", "strong"]

[[features]]
name = "smoker"
type = "boolean"
"""


def load(text: str) -> DataSettings:
    return validate_form(DataSettings, parse_toml(text, "data.toml"), text, "data.toml")


def test_schema_when_whole_says_what_a_model_needs() -> None:
    found = load(DATA)
    assert found.columns == ["age", "pain", "smoker", "outcome"]
    # One for the age, two for the three kinds of pain, one for yes or no.
    assert found.width == 4
    assert [feature.width for feature in found.features] == [1, 2, 1]
    assert (found.source.title, found.max_rows) == ("patients.csv", 1_000_000)


WRONG = [
    ('type = "csv"', 'type = "xlsx"', "source"),
    ('type = "csv"', "", "source"),
    ('path = "patients.csv"', 'path = "patients.csv"\ndelimiter = "ab"', "source"),
    ('path = "patients.csv"', 'path = "patients.csv"\nquery = "x"', "source"),
    ('type = "boolean"', 'type = "date"', "features.2"),
    ('type = "boolean"', 'type = "boolean"\nrange = [0, 1]', "features.2"),
    ("range = [0, 120]", "range = [120, 0]", "features.0"),
    ("range = [0, 120]", "range = [0]", "features.0"),
    ("range = [0, 120]", "range = [0, nan]", "features.0"),
    ('categories = ["none", "mild", "strong"]', "categories = []", "features.1"),
    ('categories = ["none", "mild", "strong"]', 'categories = ["a", "a"]', "features.1"),
    ('categories = ["none", "mild", "strong"]', 'categories = [1, "1"]', "features.1"),
    ("classes = [[0], [1, 2, 3, 4]]", "classes = [[0]]", "label"),
    ("classes = [[0], [1, 2, 3, 4]]", "classes = [[0], []]", "label"),
    ("classes = [[0], [1, 2, 3, 4]]", "classes = [[0], [0, 1]]", "label"),
    ('name = "smoker"', 'name = "age"', ""),
    ('column = "outcome"', 'column = "age"', ""),
    ('ignore = ["patient"]', 'ignore = ["age"]', ""),
    ('ignore = ["patient"]', 'ignoring = ["age"]', "ignoring"),
    ("test_share = 0.2", "test_share = 0.0", "test_share"),
    ("seed = 7", "min_rows = 1", "min_rows"),
    ("seed = 7", 'scaling = "batch"', "scaling"),
    ('name = "patients"', 'name = "My Patients"', "name"),
]


@pytest.mark.parametrize(("old", "new", "key"), WRONG, ids=[new for _, new, _ in WRONG])
def test_schema_when_wrong_names_the_key(old: str, new: str, key: str) -> None:
    assert old in DATA
    with pytest.raises(SpecificationError) as refusal:
        load(DATA.replace(old, new, 1))
    assert refusal.value.key.startswith(key)
    assert refusal.value.source == "data.toml"


def test_schema_when_scaled_by_range_needs_every_range() -> None:
    source = {"type": "csv", "path": "x"}
    with pytest.raises(ValueError, match="needs the range of pressure"):
        settings(source, scaling="range")


@pytest.mark.parametrize(
    ("value", "missing"),
    [("", ["-9"]), (" ", []), ("NaN", []), ("9", ["9"]), (9, ["9.0"]), (0.5, ["0.50"]),
     (True, ["true"])],
)  # fmt: skip
def test_schema_when_a_declared_value_means_a_missing_one_is_refused(
    value: Any, missing: list[str]
) -> None:
    source = {"type": "csv", "path": "x"}
    category = {"name": "pain", "type": "category", "categories": ["mild", value]}
    with pytest.raises(ValueError, match="of pain means a missing value"):
        settings(source, features=[category], missing=missing)
    with pytest.raises(ValueError, match="of outcome means a missing value"):
        settings(source, label={"column": "outcome", "classes": [[7], [value]]}, missing=missing)


def test_schema_when_a_code_only_looks_like_a_missing_number_is_taken() -> None:
    category = {"name": "pain", "type": "category", "categories": ["09", 8]}
    source = {"type": "csv", "path": "x"}
    assert settings(source, features=[category], missing=["9"]).missing == ["9"]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"url": "sqlite:///a.db", "url_variable": "URL", "table": "t"},
        {"url": "sqlite:///a.db"},
        {"url": "sqlite:///a.db", "table": "t", "query": "select 1"},
        {"url": "sqlite:///a.db", "query": "select 1", "table_schema": "public"},
    ],
)
def test_sql_when_not_exactly_one_table_is_named_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give exactly one|goes with table"):
        settings({"type": "sql", **change})
