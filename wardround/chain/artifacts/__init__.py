"""The wardround contract as data: ABI, bytecode and sources, so that no compiler is needed.

The Solidity is in `contracts/src/`; `python -m contracts.build` compiles it into this folder. What
an earlier release deployed stays known by a folder of its artifacts here, named after the release.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

#: Bytes of an immutable in a contract's code.
WORD_BYTES = 32

_FOLDER: Traversable = resources.files(__package__)


@dataclass(frozen=True)
class Runtime:
    """A contract's code as a chain has it, except for what its constructor fills in.

    Attributes:
        sha256: Of the code with zeros in the places of the immutables, hexadecimal.
        size: Bytes of the code.
        immutables: The offsets of each immutable's words, by its name in the source.
    """

    sha256: str
    size: int
    immutables: Mapping[str, tuple[int, ...]]

    def immutables_of(self, code: bytes) -> dict[str, bytes] | None:
        """Read the immutables, 32 bytes each; None where the code is another one."""
        if len(code) != self.size:
            return None
        blank, found = bytearray(code), {}
        for name, offsets in self.immutables.items():
            words = {code[offset : offset + WORD_BYTES] for offset in offsets}
            if len(words) != 1:
                return None
            (found[name],) = words
            for offset in offsets:
                blank[offset : offset + WORD_BYTES] = bytes(WORD_BYTES)
        return found if hashlib.sha256(blank).hexdigest() == self.sha256 else None


@dataclass(frozen=True)
class Artifact:
    """A compiled contract.

    Attributes:
        name: Name of the contract.
        abi: Its interface, as Solidity's compiler describes it; errors and events included, and
            what its annex adds.
        bytecode: The creation code, to which a deployer appends the constructor's arguments.
        runtime: What the creation leaves on the chain.
        compiler: Version of solc, with its commit.
        settings: What solc was told.
        sources: Names of the files that were compiled together, in `sources.json`.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime: Runtime
    compiler: str
    settings: Mapping[str, Any]
    sources: tuple[str, ...]


@cache
def load_artifact(name: str, release: str = "") -> Artifact:
    """Read a committed artifact.

    Args:
        name: `WardRound`, `Court`, their annexes (`WardRoundAnnex`), `Escrow`, `Grants` or
            `StudyToken`.
        release: An earlier one, by default this one.

    Raises:
        FileNotFoundError: No contract of that name is part of the package.
    """
    document = _read(f"{name}.json", release)
    runtime = document["runtime"]
    offsets = {one: tuple(places) for one, places in runtime["immutables"].items()}
    return Artifact(
        name=document["name"],
        abi=document["abi"],
        bytecode=bytes.fromhex(document["bytecode"].removeprefix("0x")),
        runtime=Runtime(runtime["sha256"], runtime["bytes"], offsets),
        compiler=document["compiler"],
        settings=document["settings"],
        sources=tuple(document["sources"]),
    )


@cache
def releases() -> tuple[str, ...]:
    """Releases whose contracts this one knows: its own, "", and the folders of earlier ones."""
    earlier = (one.name for one in _FOLDER.iterdir() if one.joinpath("WardRound.json").is_file())
    return ("", *sorted(earlier))


def standard_input(artifact: Artifact, release: str = "") -> dict[str, Any]:
    """Form what ``solc --standard-json`` compiles to a contract's code, sources included.

    Source:
        Solidity documentation, "Compiler Input and Output JSON Description".
    """
    texts = _read("sources.json", release)
    wanted = ["abi", "metadata", "evm.bytecode", "evm.deployedBytecode"]
    return {
        "language": "Solidity",
        "sources": {name: {"content": texts[name]} for name in artifact.sources},
        "settings": {**artifact.settings, "outputSelection": {"*": {"*": wanted}}},
    }


def _read(name: str, release: str) -> Any:
    return json.loads(_FOLDER.joinpath(release, name).read_text("utf-8"))
