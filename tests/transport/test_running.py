"""Lines that another process adds to a file."""

from __future__ import annotations

from pathlib import Path

from wardround.transport.running import LineReader


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
