"""docs/operating-a-site.md has every key of ``site.toml``, and every refusal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tests.shown import ROOT
from wardround_client import errors
from wardround_client.settings import (
    ChainTable,
    CoordinatorTable,
    HomeSettings,
    HomeSiteTable,
    PolicyTable,
)

PAGE = (ROOT / "docs" / "operating-a-site.md").read_text(encoding="utf-8")
TABLES: dict[str, type[BaseModel]] = {
    "site": HomeSiteTable,
    "chain": ChainTable,
    "coordinator": CoordinatorTable,
    "policy": PolicyTable,
}


def documented(table: str) -> dict[str, Any]:
    section = PAGE.split(f"`[{table}]`:")[1].split("\n\n")[1]
    rows = [line.split("|")[1:3] for line in section.splitlines()[2:]]
    return {
        key.strip(" `"): json.loads(cell.strip(" `")) if cell.strip() else None
        for key, cell in rows
    }


def actual(kind: type[BaseModel]) -> dict[str, Any]:
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in kind.model_fields.items()
    }
    return {name: None if value is PydanticUndefined else value for name, value in defaults.items()}


@pytest.mark.parametrize("table", TABLES)
def test_keys_are_those_of_the_code(table: str) -> None:
    assert documented(table) == actual(TABLES[table])


def test_no_table_is_left_out() -> None:
    # `[[standby]]` has the keys of `[coordinator]`; `[data]` has a page of its own.
    assert set(HomeSettings.model_fields) == {*TABLES, "data", "standby"}
    assert "`[[standby]]`" in PAGE


def test_every_refusal_is_explained() -> None:
    """A refusal's name is the first argument, a string, where it is made."""
    named = re.compile(r'Refus(?:al|edForNow)\(\s*"([a-z-]+)"')
    package = Path(errors.__file__).parent
    refusals = {name for path in package.rglob("*.py") for name in named.findall(path.read_text())}
    section = PAGE.split("## When the guard refuses")[1]
    explained = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", section))
    # The log's own line, which refuses nothing by itself.
    written = {"guard-log-unusable", "too-many-refusals"}
    assert refusals - {"request-malformed"} == explained - written
