"""The one process of a folder, and lines that others add to a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wardround.protocol.errors import WardroundError
from wardround.transport.running import LineReader, only_one


class Busy(WardroundError):
    """Somebody else runs."""


HOLDER = """
import sys, time
from pathlib import Path
from wardround.protocol.errors import WardroundError
from wardround.transport.running import only_one
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


def test_line_reader_gives_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "said.log"
    reader = LineReader(path)
    assert reader.news() == []
    path.write_bytes(b"took over\nstanding")
    assert reader.news() == [b"took over"]
    with path.open("ab") as file:
        file.write(b" by\n")
    assert (reader.news(), reader.news()) == ([b"standing by"], [])


def test_line_reader_leaves_out_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "said.log"
    path.write_bytes(b"long ago\n")
    reader = LineReader(path)
    assert reader.news() == []
