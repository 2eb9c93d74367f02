"""Every attack on the contract that is known, as a Foundry test of what must hold under it.

The tests in `contracts/test/attacks` state the right behaviour.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contracts.scratch import WHOLE, with_forge

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
TEST = re.compile(r"^    function (test\w*)\(", re.MULTILINE)
ATTACKS = "test/attacks/*"
TIME_LIMIT_SECONDS = 540

WRITTEN = sorted(
    name
    for path in (CONTRACTS / "test" / "attacks").glob("*.t.sol")
    for name in TEST.findall(path.read_text(encoding="utf-8"))
)

pytestmark = [pytest.mark.deep, pytest.mark.timeout(TIME_LIMIT_SECONDS + 30)]


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    """Return forge's result of each test, by its name."""
    # Everything first: forge would leave half compiled what a filter leaves out.
    for command in (["build"], ["test", "--json", "--match-path", ATTACKS, "--no-match-path", "-"]):
        done = subprocess.run(
            ["forge", *command, *WHOLE],
            cwd=CONTRACTS,
            env=with_forge(),
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    # The status is 1 when a test fails, which is expected here, and when nothing compiles.
    lines = done.stdout.splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise RuntimeError(f"forge ran no test:\n{done.stdout}{done.stderr}")
    suites = json.loads(lines[-1])
    found = [
        (name.removesuffix("()"), result)
        for suite in suites.values()
        for name, result in suite["test_results"].items()
    ]
    assert len(dict(found)) == len(found), "two tests have one name"
    return dict(found)


def test_forge_runs_every_attack_that_is_written(results: dict[str, dict[str, Any]]) -> None:
    assert sorted(results) == WRITTEN


@pytest.mark.parametrize("name", WRITTEN)
def test_contract_withstands(name: str, results: dict[str, dict[str, Any]]) -> None:
    result = results[name]
    assert result["status"] == "Success", result["reason"]
