"""The courier, alone: it has one round answered by the guard, and stays for a while.

``python -m tests.client.guard.courier HOME TASK_FOLDER``: the folder has ``params``, ``previous``,
``specification`` and ``base`` as bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

# As a SuperNode's process does; its modules are what the search for rows goes through.
import wardround_client.app.client_app  # noqa: F401
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import Closing, StudyParams
from wardround_client.guard.client import guard_of
from wardround_client.home import Home


def main(home: str, folder: str) -> None:
    read = lambda name: (Path(folder) / name).read_bytes()  # noqa: E731
    params = StudyParams.decode(read("params"))
    task = TrainTask(params, Closing.decode(read("previous")), 1, read("specification"))
    base = vector_from_bytes(read("base"), params.parameter_count)
    delivery, _ = guard_of(Home(Path(home))).train(task, base)
    print(delivery.entry.pack().hex(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
