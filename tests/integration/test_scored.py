"""A whole network that pays by scores, its store open or encrypted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.integration.networks import run, small_scenario
from wardround.command_line import app


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("rule", "scoring", "confidential", "recomputed"),
    [
        ("clipped_mean", "projection", False, "clipped_mean, norms and scores recomputed"),
        ("clipped_mean", "projection", True, "clipped_mean, norms and scores recomputed"),
        ("multi_krum", "examples", False, "multi_krum, distances and ranks recomputed"),
    ],
)
def test_network_when_it_commits_to_rows_is_audited_and_paid(
    tmp_path: Path, rule: str, scoring: str, confidential: bool, recomputed: str
) -> None:
    hostile = int(rule == "multi_krum")
    scenario = small_scenario(
        aggregation={"rule": rule, "hostile": hostile, "min_sites": 3},
        rewards={"scoring": scoring},
    )
    folder = tmp_path / "run"
    earned = run(scenario, folder, confidential=confidential).summary["final"]["earned"]
    keys = ["--reading-key", str(folder / "auditor" / "reading.key")] if confidential else []
    audited = said("audit", str(folder), *keys)
    assert "All holds." in audited
    assert audited.count(recomputed) == scenario.study.rounds
    # By weight all earn alike: each has as many rows.
    assert len(set(earned.values())) == (len(earned) if scoring == "projection" else 1)
    # Sent by an account without a key to updates.
    paid = [json.loads(line)["paid"] for line in said("claim", str(folder), "--json").splitlines()]
    assert sorted(paid) == sorted(earned.values())
