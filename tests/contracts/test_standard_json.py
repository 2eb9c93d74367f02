"""The sources in the artifacts, compiled by themselves, give the code in the artifacts."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from wardround.chain.artifacts import load_artifact, standard_input

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
TIME_LIMIT_SECONDS = 540


@pytest.mark.deep
@pytest.mark.timeout(TIME_LIMIT_SECONDS + 30)
@pytest.mark.parametrize("names", [("WardRound", "Court"), ("Grants", "StudyToken")])
def test_standard_json_compiles_to_the_deployed_code(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    """Run in an empty folder, so that no source comes from anywhere else."""
    asked = [standard_input(load_artifact(name)) for name in names]
    assert all(one == asked[0] for one in asked), "they were compiled together"
    done = subprocess.run(
        [str(CONTRACTS / "solc"), "--standard-json", "-"],
        input=json.dumps(asked[0]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_SECONDS,
        check=True,
    )
    contracts = json.loads(done.stdout)["contracts"]
    for name in names:
        artifact, made = load_artifact(name), contracts[f"src/{name}.sol"][name]["evm"]
        assert bytes.fromhex(made["bytecode"]["object"]) == artifact.bytecode
        deployed = bytes.fromhex(made["deployedBytecode"]["object"])
        assert hashlib.sha256(deployed).hexdigest() == artifact.runtime.sha256
