"""The same study on another chain has the same models, root by root.

`test_wheel.py` compares the models under Flower's engines and of a network of processes.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.consortium import CHAIN_ID, FREE, consortium, legacy_front
from tests.integration.networks import run, small_scenario
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround.devchain.errors import AnvilMissing
from wardround_simulations.run import ChainChoice


def roots(rounds: list[dict[str, Any]]) -> list[str]:
    return [row["model"] for row in rounds]


@pytest.fixture(scope="module")
def expected(finished: Path) -> list[str]:
    """Model roots of the small scenario on the embedded chain, in process."""
    return roots(json.loads((finished / "summary.json").read_text("utf-8"))["rounds"])


def audited(folder: Path) -> list[str]:
    with open_run(folder) as opened:
        audit = StudyAudit(opened.contract, opened.study, opened.store)
        found = ["0x" + one.record.model.hex() for one in audit.rounds()]
        audit.check_objects()
    return found


def test_models_when_on_anvil_are_the_embedded_chains(tmp_path: Path, expected: list[str]) -> None:
    try:
        results = run(small_scenario(), tmp_path / "run", choice=ChainChoice("anvil"))
    except AnvilMissing as error:
        pytest.skip(str(error))
    assert roots(results.rounds) == expected
    assert audited(tmp_path / "run") == expected


@pytest.mark.parametrize(
    "legacy", [False, pytest.param(True, marks=pytest.mark.deep)], ids=["eip-1559", "legacy"]
)
def test_models_when_on_a_free_shanghai_chain_are_the_embedded_chains(
    tmp_path: Path, expected: list[str], legacy: bool
) -> None:
    """The whole honest path where no account holds a coin: deploy, fund, close, audit."""
    with ExitStack() as stack:
        url = stack.enter_context(consortium(tmp_path, "--hardfork", "shanghai", *FREE))
        if legacy:
            url = stack.enter_context(legacy_front(url))
        results = run(small_scenario(), tmp_path / "run", choice=ChainChoice(url, CHAIN_ID))
        assert roots(results.rounds) == expected
        assert audited(tmp_path / "run") == expected
