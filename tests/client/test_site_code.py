from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wardround_client.site_code import shown_files


def test_files_are_shown_whole_with_names_and_numbers() -> None:
    data = b"".join(b"x%d = 1\n" % number for number in range(1, 11))
    lines = list(shown_files({"layers.py": b"y = 2", "model.py": data}))
    assert lines[:3] == [
        "layers.py: 1 lines, 5 bytes",
        "layers.py:1 | y = 2",
        "model.py: 10 lines, 71 bytes",
    ]
    assert lines[3:5] == ["model.py: 1 | x1 = 1", "model.py: 2 | x2 = 1"]
    assert lines[-1] == "model.py:10 | x10 = 1"


def test_letters_that_look_like_others_or_like_nothing_are_visible() -> None:
    source = "\u3164 = 1\nimport \u043es\nx = 'é'\x1b[2J\n".encode()
    assert list(shown_files({"model.py": source}))[1:] == [
        r"model.py:1 | \u3164 = 1",
        r"model.py:2 | import \u043es",
        r"model.py:3 | x = '\xe9'\x1b[2J",
    ]


def test_a_carriage_return_hides_no_line() -> None:
    """Python ends a line there, and a screen would write the next over it."""
    lines = list(shown_files({"model.py": b"import os  # \ros.system('x')\r\ny = 1\n"}))
    assert lines == [
        "model.py: 3 lines, 36 bytes",
        "model.py:1 | import os  # ",
        "model.py:2 | os.system('x')",
        "model.py:3 | y = 1",
    ]


@given(st.text())
def test_whatever_a_file_has_is_shown_on_lines_of_its_own(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    for line in shown_files({"model.py": data}):
        assert line.isascii()
        assert line.isprintable()
        assert line.startswith("model.py:")
