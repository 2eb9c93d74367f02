"""docs/site-data.md: its example is a table's description, its keys and defaults are the code's."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from wardround_client.sources.csv import CsvSource
from wardround_client.sources.parquet import ParquetSource
from wardround_client.sources.preview import SMALLEST_GROUP
from wardround_client.sources.schema import Boolean, Category, Label, Numeric
from wardround_client.sources.settings import DataSettings
from wardround_client.sources.sql import SqlSource

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "site-data.md").read_text("utf-8")


def tables() -> list[dict[str, Any]]:
    found = []
    for block in re.findall(r"^\| key .*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line)[1:4] for line in block.splitlines()]
        found.append(
            {
                key.strip(" `"): json.loads(cell.strip(" `")) if cell.strip() else None
                for key, cell, _ in rows
            }
        )
    return found


@pytest.mark.parametrize(
    ("at", "model"), list(enumerate([DataSettings, CsvSource, ParquetSource, SqlSource]))
)
def test_keys_are_those_of_the_code(at: int, model: Any) -> None:
    actual = {}
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        actual[name] = None if default is PydanticUndefined else default
    assert tables()[at] == actual
    assert len(tables()) == 4


def test_types_of_features_are_those_of_the_code() -> None:
    section = PAGE.split("## Features and label")[1].split("## Sources")[0]
    lines = re.findall(r"^\| `(\w+)` \| ([`\w, ]*) ?\|", section, re.MULTILINE)
    found = {kind: set(re.findall(r"\w+", keys)) for kind, keys in lines}
    models = {"numeric": Numeric, "category": Category, "boolean": Boolean}
    assert found == {
        kind: set(model.model_fields) - {"name", "type"} for kind, model in models.items()
    }
    assert set(Label.model_fields) == {"column", "classes"}
    assert SMALLEST_GROUP == 5


def test_example_is_a_whole_description() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    found = DataSettings.model_validate(tomllib.loads(text)["data"])
    assert found.width == 5
