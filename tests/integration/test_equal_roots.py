"""The same study on another chain, or under another engine, has the same models, root by root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.networks import run, small_scenario, toml_of
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround.devchain.errors import AnvilMissing
from wardround_simulations.run import ChainChoice

TIMEOUT_SECONDS = 280
ROOT = Path(__file__).resolve().parents[2]


def roots(rounds: list[dict[str, Any]]) -> list[str]:
    return [row["model"] for row in rounds]


@pytest.fixture(scope="module")
def expected(finished: Path) -> list[str]:
    """Model roots of the small scenario on the embedded chain, in process."""
    return roots(json.loads((finished / "summary.json").read_text("utf-8"))["rounds"])


def audited(folder: Path) -> list[str]:
    with open_run(folder) as opened:
        audit = StudyAudit(opened.contract, opened.study, opened.store)
        found = ["0x" + one.settlement.model.root.hex() for one in audit.rounds()]
        audit.check_objects()
    return found


def test_models_when_on_anvil_are_the_embedded_chains(tmp_path: Path, expected: list[str]) -> None:
    try:
        results = run(small_scenario(), tmp_path / "run", choice=ChainChoice("anvil"))
    except AnvilMissing as error:
        pytest.skip(str(error))
    assert roots(results.rounds) == expected
    assert audited(tmp_path / "run") == expected


@pytest.mark.deep
@pytest.mark.parametrize("engine", ["ray", "flwr"])
def test_models_when_under_flowers_engines_are_those_in_process(
    tmp_path: Path, expected: list[str], engine: str
) -> None:
    """From a process of its own: Ray leaves files and processes to the collector."""
    scenario = tmp_path / "small.toml"
    scenario.write_text(toml_of(small_scenario()), encoding="utf-8")
    command = [
        sys.executable, "-m", "wardround", "simulate", str(scenario), "--out",
        str(tmp_path / "run"), "--engine", engine, "--chain", "anvil", "--json",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True,
        timeout=TIMEOUT_SECONDS,
    )  # fmt: skip
    if "anvil was not found" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)  # one object and nothing else
    assert roots(summary["rounds"]) == expected
    assert audited(tmp_path / "run") == expected
