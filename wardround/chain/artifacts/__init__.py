"""The wardround contract as data: ABI and bytecode, so that no compiler is needed.

The Solidity is in `contracts/src/`; `python -m contracts.build` compiles it into this folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Artifact:
    """A compiled contract.

    Attributes:
        name: Name of the contract.
        abi: Its interface, as Solidity's compiler describes it; errors and events included.
        bytecode: The creation code, to which a deployer appends the constructor's arguments.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes


@cache
def load_artifact(name: str) -> Artifact:
    """Read a committed artifact.

    Args:
        name: `WardRound`, `Court`, `Grants` or `StudyToken`.

    Raises:
        FileNotFoundError: No contract of that name is part of the package.
    """
    document = json.loads(resources.files(__package__).joinpath(f"{name}.json").read_text("utf-8"))
    return Artifact(
        name=document["name"],
        abi=document["abi"],
        bytecode=bytes.fromhex(document["bytecode"].removeprefix("0x")),
    )
