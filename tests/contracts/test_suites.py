"""`make test` runs every Foundry test there is."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from contracts.scratch import WHOLE

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
TEST = re.compile(r"^    function ((?:test|invariant_)\w*)\(", re.MULTILINE)


def test_forge_knows_every_test_that_is_written() -> None:
    """forge silently drops tests whose compilation it takes for done: see the Makefile."""
    (forge,) = CONTRACTS.glob("node_modules/@foundry-rs/forge-*/bin/forge")
    assert f"WHOLE := {' '.join(WHOLE)}\n" in (ROOT / "Makefile").read_text("utf-8")
    listed = subprocess.run(
        [str(forge), "test", *WHOLE, "--list", "--json"],
        cwd=CONTRACTS,
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    found = {
        name
        for suites in json.loads(listed.stdout.splitlines()[-1]).values()
        for names in suites.values()
        for name in names
    }
    written = {
        name
        for path in (CONTRACTS / "test").glob("*.sol")
        for name in TEST.findall(path.read_text(encoding="utf-8"))
    }
    assert len(written) > 100
    assert written == found
