"""Which processes belong to a running network: written down, so that others find and end them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from wardround.host.durable import write_durably
from wardround.protocol.documents import Form
from wardround.protocol.errors import ScenarioError
from wardround.transport.processes import ProcessMark

PROCESSES_FILE = "processes.json"
#: The process that supervises all others.
SUPERVISOR = "network"


class _Process(Form):
    pid: int
    started: float


class _File(Form):
    processes: dict[str, _Process]


def write_processes(folder: Path, processes: Mapping[str, ProcessMark]) -> None:
    """Write down a network's processes, whole or not at all."""
    rows = {name: {"pid": m.pid, "started": m.started} for name, m in processes.items()}
    write_durably(folder / PROCESSES_FILE, json.dumps({"processes": rows}, indent=2) + "\n")


def read_processes(folder: Path) -> dict[str, ProcessMark]:
    """Read a network's processes; empty once it was ended.

    Raises:
        ScenarioError: the file is damaged.
    """
    path = folder / PROCESSES_FILE
    if not path.exists():
        return {}
    try:
        found = _File.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ScenarioError(str(path), "it is damaged: end the processes by hand") from error
    return {name: ProcessMark(row.pid, row.started) for name, row in found.processes.items()}


def forget_processes(folder: Path) -> None:
    """Note that a network has ended."""
    (folder / PROCESSES_FILE).unlink(missing_ok=True)
