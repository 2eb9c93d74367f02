"""Let Halmos prove `proofs/`: for all values at once, not for many.

    python -m contracts.prove PROGRAM            every proof holds
    python -m contracts.prove PROGRAM --broken   every proof fails, on contracts that are broken

`PROGRAM` is Halmos's, in an environment of its own. A proof that stops at a bound of Halmos's own,
or runs out of time, does not count as one. `proofs/halmos.toml` lists what is replaced because
Halmos cannot run it, `proofs/broken.toml` how the contracts are broken to see that each proof can
fail. The exit status is 1 when one is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from contracts.scratch import HERE, run_tool, scratch

CONTRACT = "HalmosTest"
TIME_LIMIT_SECONDS = 3_600
_HOLDS, _COUNTEREXAMPLE = 0, 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the result is its exit status."""
    parser = argparse.ArgumentParser(prog="python -m contracts.prove", description=__doc__)
    parser.add_argument("program", type=Path, help="Halmos's program")
    parser.add_argument("--broken", action="store_true", help="see that every proof can fail")
    chosen = parser.parse_args(arguments)
    results = run_halmos(chosen.program.absolute(), broken=chosen.broken)
    wanted = _COUNTEREXAMPLE if chosen.broken else _HOLDS
    wrong = [name for name, status in results.items() if status != wanted]
    for name, status in results.items():
        verdict = {_HOLDS: "holds", _COUNTEREXAMPLE: "has a counterexample"}.get(status, "is open")
        print(f"{name} {verdict}{', and should not' if name in wrong else ''}")
    return 1 if wrong or not results else 0


def run_halmos(program: Path, *, broken: bool) -> dict[str, int]:
    """Try every proof on a copy of the contracts; how each of them ended, as Halmos counts it.

    Raises:
        SystemExit: Halmos did not get as far as trying.
    """
    with scratch("src", "test", "proofs") as copy:
        change_contracts(copy, "halmos.toml")
        if broken:
            change_contracts(copy, "broken.toml")
        report = copy / "report.json"
        command = [str(program), "--contract", CONTRACT, "--forge-build-out", "out/prove"]
        command += ["--no-status", "--json-output", str(report)]
        # A counterexample's values are of no use here, and are not always JSON.
        command += ["--minimal-json-output"] if broken else []
        done = run_tool(command, copy, profile="prove", limit_seconds=TIME_LIMIT_SECONDS)
        if not report.exists():
            raise SystemExit(f"Halmos did not finish:\n{done.stdout}")
        written = json.loads(report.read_text("utf-8"))
    return {
        name: status for tests in written["test_results"].values() for name, status in ends(tests)
    }


def ends(tests: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """How proofs ended. One that cut a loop short has shown nothing."""
    return [
        (test["name"].split("(")[0], -1 if test.get("num_bounded_loops") else test["exitcode"])
        for test in tests
    ]


def change_contracts(copy: Path, listed: str) -> None:
    """Change a copy of the contracts as a file of `proofs/` lists.

    Raises:
        SystemExit: what it changes is not there, or is there more than once.
    """
    for change in tomllib.loads((HERE / "proofs" / listed).read_text("utf-8"))["change"]:
        path = copy / "src" / change["file"]
        text = path.read_text("utf-8")
        if text.count(change["from"]) != 1:
            raise SystemExit(
                f"proofs/{listed}: {change['file']} must hold this once:\n{change['from']}"
            )
        path.write_text(text.replace(change["from"], change["to"]), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
