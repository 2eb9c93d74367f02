"""Compile the contracts and keep what users need in `wardround/chain/artifacts/`.

    python -m contracts.build                         compile and write
    python -m contracts.build --check                 compile and compare; status 1 if they differ
    python -m contracts.build --check --built FOLDER  compile only if forge's build there differs

The bytecode carries no metadata, so the same sources and compiler make the same bytes anywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from contracts.scratch import HERE, run_tool

OUT = HERE / "out" / "package"
ARTIFACTS = HERE.parent / "wardround" / "chain" / "artifacts"
NAMES = ("WardRound", "Court", "Grants", "StudyToken")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the result is its exit status."""
    parser = argparse.ArgumentParser(prog="python -m contracts.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--built", help="with --check: a folder, from contracts/, with a build")
    chosen = parser.parse_args(arguments)
    # An incremental build may differ although nothing is stale, so only equality is final.
    if chosen.check and chosen.built and not stale(HERE / chosen.built):
        return 0
    forge_build()
    if not chosen.check:
        write()
        return 0
    found = stale(OUT)
    for name in found:
        print(
            f"{ARTIFACTS.name}/{name}.json is not what src/ compiles to: "
            "run `python -m contracts.build`"
        )
    return 1 if found else 0


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


def write() -> None:
    """Write the artifacts of what was compiled into ``OUT``."""
    ARTIFACTS.mkdir(exist_ok=True)
    for name in NAMES:
        (ARTIFACTS / f"{name}.json").write_text(render(name, OUT), "utf-8")


def stale(built: Path) -> list[str]:
    """Contracts whose committed artifact is not what was compiled into a folder."""
    return [name for name in NAMES if not is_kept(ARTIFACTS / f"{name}.json", name, built)]


def is_kept(path: Path, name: str, built: Path) -> bool:
    return path.exists() and path.read_text("utf-8") == render(name, built)


def render(name: str, built: Path) -> str:
    """Form the artifact's text from what forge wrote for one contract."""
    compiled = json.loads((built / f"{name}.sol" / f"{name}.json").read_text("utf-8"))
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
