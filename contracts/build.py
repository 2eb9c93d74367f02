"""Compile the contracts and keep what users need in `wardround/chain/artifacts/`.

    python -m contracts.build           compile and write
    python -m contracts.build --check   compile and compare; status 1 when they differ

The bytecode carries no metadata, so the same sources and compiler make the same bytes anywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from typing import Any

from contracts.scratch import HERE, run_tool

OUT = HERE / "out" / "package"
ARTIFACTS = HERE.parent / "wardround" / "chain" / "artifacts"
NAMES = ("WardRound", "Court", "Grants", "StudyToken")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the result is its exit status."""
    parser = argparse.ArgumentParser(prog="python -m contracts.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args(arguments).check
    forge_build()
    stale = [name for name in NAMES if not settle(name, check=check)]
    for name in stale:
        print(
            f"{ARTIFACTS.name}/{name}.json is not what src/ compiles to: "
            "run `python -m contracts.build`"
        )
    return 1 if stale else 0


def forge_build() -> None:
    """Compile `src/` with the forge that npm installed.

    Raises:
        SystemExit: forge is missing, or the sources do not compile.
    """
    # All sources at once and nothing from earlier builds or tests: the names that via_ir gives to
    # functions, and with them their order, depend on what is compiled together.
    command = ["forge", "build", "src", "--force", "--out", str(OUT)]
    done = run_tool([*command, "--cache-path", "cache/package"], HERE)
    if done.returncode != 0:
        raise SystemExit(done.stdout)


def settle(name: str, *, check: bool) -> bool:
    """Write an artifact, or compare it; whether the committed file is now as compiled."""
    path = ARTIFACTS / f"{name}.json"
    text = render(name, json.loads((OUT / f"{name}.sol" / f"{name}.json").read_text()))
    if check:
        return path.exists() and path.read_text("utf-8") == text
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return True


def render(name: str, compiled: dict[str, Any]) -> str:
    """Form the artifact's text from what forge wrote for one contract."""
    metadata = compiled["metadata"]
    settings = metadata["settings"]
    # Immutable values are zero in the compiler's output and filled in at deployment.
    runtime = bytes.fromhex(compiled["deployedBytecode"]["object"].removeprefix("0x"))
    document = {
        "name": name,
        "compiler": {
            "solc": metadata["compiler"]["version"],
            "evmVersion": settings["evmVersion"],
            "optimizerRuns": str(settings["optimizer"]["runs"]),
            "viaIR": str(settings.get("viaIR", False)).lower(),
        },
        "runtimeSha256": hashlib.sha256(runtime).hexdigest(),
        "bytecode": compiled["bytecode"]["object"],
        "abi": compiled["abi"],
    }
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    sys.exit(main())
