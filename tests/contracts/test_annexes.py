"""The contracts whose code is in two places: one storage, one interface."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from contracts.build import ANNEXES
from wardround.chain.artifacts import load_artifact


@pytest.mark.parametrize(("name", "annex"), ANNEXES.items())
def test_annex_has_the_storage_of_its_contract(name: str, annex: str) -> None:
    folder = resources.files("wardround.chain.artifacts")
    one, other = (
        json.loads(folder.joinpath(f"{part}.json").read_text("utf-8"))["storage"]
        for part in (name, annex)
    )
    assert one == other
    assert one["storage"]


@pytest.mark.parametrize(("name", "annex"), ANNEXES.items())
def test_callers_see_the_functions_of_both(name: str, annex: str) -> None:
    abi = load_artifact(name).abi
    assert all(one in abi for one in load_artifact(annex).abi if one["type"] != "constructor")
    names = [(one["type"], one["name"]) for one in abi if "name" in one]
    assert len(set(names)) == len(names)
