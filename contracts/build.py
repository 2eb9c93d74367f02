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
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.scratch import HERE, run_tool

OUT = HERE / "out" / "package"
ARTIFACTS = HERE.parent / "wardround" / "chain" / "artifacts"
NAMES = (
    *("WardRound", "WardRoundAnnex", "Court", "CourtAnnex"),
    *("Escrow", "Grants", "StudyToken"),
)
#: Contracts that let the code of another do what they have no function for, by its name.
ANNEXES = {"WardRound": "WardRoundAnnex", "Court": "CourtAnnex"}
SOURCES = "sources.json"
#: What decides on the code, of all that forge tells the compiler.
SETTINGS = ("remappings", "optimizer", "metadata", "evmVersion", "viaIR", "libraries")


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
    files = rendered()
    if not chosen.check:
        for name, text in files.items():
            (ARTIFACTS / name).write_text(text, "utf-8")
        return 0
    found = [name for name, text in files.items() if kept(name) != text]
    for name in found:
        print(
            f"{ARTIFACTS.name}/{name} is not what src/ compiles to: run `python -m contracts.build`"
        )
    return 1 if found else 0


def forge_build() -> None:
    """Compile `src/` with the forge that npm installed.

    Raises:
        SystemExit: forge is missing, or the sources do not compile.
    """
    # All sources at once and nothing from earlier builds or tests: the names that via_ir gives to
    # functions, and with them their order, depend on what is compiled together.
    command = ["forge", "build", "src", "--force", "--build-info", "--ast", "--out", str(OUT)]
    command += ["--cache-path", "cache/package", "--extra-output", "storageLayout"]
    done = run_tool(command, HERE)
    if done.returncode != 0:
        raise SystemExit(done.stdout)


def stale(built: Path) -> bool:
    """Whether a build's code, or a source, is another than that of the committed artifacts."""
    texts = json.loads(kept(SOURCES) or "{}")
    return (
        not texts
        or any(is_stale(name, built) for name in NAMES)
        or any((HERE / source).read_text("utf-8") != text for source, text in texts.items())
    )


def is_stale(name: str, built: Path) -> bool:
    committed = json.loads(kept(f"{name}.json") or "{}")
    code = artifact_of(name, built)["bytecode"]["object"]
    return (committed.get("abi"), committed.get("bytecode")) != (abi_of(name, built), code)


def kept(name: str) -> str | None:
    """A committed file's text; None where there is none."""
    path = ARTIFACTS / name
    return path.read_text("utf-8") if path.exists() else None


def rendered() -> dict[str, str]:
    """Form each artifact's text, and that of the sources, from what was compiled into ``OUT``."""
    jobs = [json.loads(path.read_text("utf-8")) for path in (OUT / "build-info").glob("*.json")]
    files: dict[str, str] = {}
    texts: dict[str, str] = {}
    for name in NAMES:
        job = next(one for one in jobs if compiles(one, name))
        files[f"{name}.json"] = render(name, job)
        texts |= {source: one["content"] for source, one in job["input"]["sources"].items()}
    return {**files, SOURCES: json.dumps(dict(sorted(texts.items())), indent=1) + "\n"}


def compiles(job: dict[str, Any], name: str) -> bool:
    """Whether a run of the compiler made a contract's artifact; some contracts are in several."""
    compiled = job["output"]["contracts"].get(f"src/{name}.sol", {}).get(name)
    code = artifact_of(name, OUT)["bytecode"]["object"].removeprefix("0x")
    return compiled is not None and compiled["evm"]["bytecode"]["object"] == code


def artifact_of(name: str, built: Path) -> dict[str, Any]:
    """What forge wrote for a contract."""
    found: dict[str, Any] = json.loads((built / f"{name}.sol" / f"{name}.json").read_text("utf-8"))
    return found


def abi_of(name: str, built: Path) -> list[dict[str, Any]]:
    """The interface that callers see: a contract's, and what its annex adds."""
    abi: list[dict[str, Any]] = artifact_of(name, built)["abi"]
    added = artifact_of(ANNEXES[name], built)["abi"] if name in ANNEXES else []
    return abi + [one for one in added if one not in abi and one["type"] != "constructor"]


def render(name: str, job: dict[str, Any]) -> str:
    """Form an artifact's text from the run of the compiler that made it."""
    compiled = job["output"]["contracts"][f"src/{name}.sol"][name]
    settings = {key: one for key, one in job["input"]["settings"].items() if key in SETTINGS}
    deployed = compiled["evm"]["deployedBytecode"]
    # Immutable values are zero in the compiler's output and filled in at deployment.
    runtime = bytes.fromhex(deployed["object"])
    document = {
        "name": name,
        "compiler": artifact_of(name, OUT)["metadata"]["compiler"]["version"],
        "settings": settings,
        "sources": sorted(job["input"]["sources"]),
        "runtime": {
            "sha256": hashlib.sha256(runtime).hexdigest(),
            "bytes": len(runtime),
            "immutables": immutables(deployed.get("immutableReferences", {}), job),
        },
        "storage": layout(artifact_of(name, OUT)["storageLayout"]),
        "bytecode": "0x" + compiled["evm"]["bytecode"]["object"],
        "abi": abi_of(name, OUT),
    }
    return json.dumps(document, indent=1) + "\n"


def layout(compiled: dict[str, Any]) -> dict[str, Any]:
    """A contract's storage, as solc describes it, without the numbers of syntax trees."""
    text = re.sub(r"\)\d+", ")", json.dumps(compiled))
    found: dict[str, Any] = drop_trees(json.loads(text))
    return found


def drop_trees(tree: Any) -> Any:
    if isinstance(tree, list):
        return [drop_trees(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    return {key: drop_trees(one) for key, one in tree.items() if key not in ("astId", "contract")}


def immutables(references: dict[str, Any], job: dict[str, Any]) -> dict[str, list[int]]:
    """Name the immutables of a contract, and list the offsets of their words in its code."""
    names = {
        str(node["id"]): node["name"]
        for source in job["output"]["sources"].values()
        for node in nodes(source["ast"])
        if node.get("mutability") == "immutable"
    }
    found = {names[one]: [place["start"] for place in places] for one, places in references.items()}
    assert len(found) == len(references), "two immutables have one name"
    return dict(sorted(found.items()))


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a syntax tree."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for below in tree:
            yield from nodes(below)


if __name__ == "__main__":
    sys.exit(main())
