"""The process that trains, alone: it answers one round through the guard, and stays for a while.

``python -m tests.client.guard.trainer HOME TASK_FOLDER``: the folder has ``params``, ``previous``,
``specification`` and ``base`` as bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import Closing, StudyParams
from wardround_client.app.client_app import open_home


def main(home: str, folder: str) -> None:
    read = lambda name: (Path(folder) / name).read_bytes()  # noqa: E731
    params = StudyParams.decode(read("params"))
    task = TrainTask(params, Closing.decode(read("previous")), 1, read("specification"))
    site = open_home(home)
    delivery, _ = site.contribute(task, vector_from_bytes(read("base"), params.parameter_count))
    print(delivery.entry.pack().hex(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
