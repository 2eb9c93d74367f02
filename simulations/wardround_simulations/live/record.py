"""Which processes belong to a running network: written down, so that others find and end them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from wardround.host.durable import write_durably
from wardround.protocol.errors import ScenarioError
from wardround.transport.processes import ProcessMark

PROCESSES_FILE = "processes.json"
#: The process that supervises all others.
SUPERVISOR = "network"


_FILE = TypeAdapter(dict[Literal["processes"], dict[str, ProcessMark]])


def write_processes(folder: Path, processes: Mapping[str, ProcessMark]) -> None:
    """Write down a network's processes, whole or not at all."""
    data = _FILE.dump_json({"processes": dict(processes)}, indent=2)
    write_durably(folder / PROCESSES_FILE, data + b"\n")


def read_processes(folder: Path) -> dict[str, ProcessMark]:
    """Read a network's processes; empty once it was ended.

    Raises:
        ScenarioError: the file is damaged.
    """
    path = folder / PROCESSES_FILE
    if not path.exists():
        return {}
    try:
        return _FILE.validate_json(path.read_bytes())["processes"]
    except (ValidationError, KeyError) as error:
        raise ScenarioError(str(path), "it is damaged: end the processes by hand") from error


def forget_processes(folder: Path) -> None:
    """Note that a network has ended."""
    (folder / PROCESSES_FILE).unlink(missing_ok=True)
