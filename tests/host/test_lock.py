"""The one process of a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wardround.host.lock import only_one
from wardround.protocol.errors import WardroundError


class Busy(WardroundError):
    """Another process runs."""


HOLDER = """
import sys, time
from pathlib import Path
from wardround.protocol.errors import WardroundError
from wardround.host.lock import only_one
with only_one(Path(sys.argv[1]), WardroundError("busy")):
    print("held", flush=True)
    time.sleep(600)
"""


def test_folder_is_one_processs_at_a_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(Busy), only_one(tmp_path, Busy("another one runs")):
                pass
        finally:
            holder.kill()
    # However it ended, the next one may.
    with only_one(tmp_path, Busy("another one runs")):
        pass
