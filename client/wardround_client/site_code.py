"""A study's own files as an administrator reads them: in full, with nothing invisible."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from wardround.protocol.model import StudyFiles

#: Where Python ends a line; other characters that a screen breaks at are made visible.
_LINE_END = re.compile("\r\n|\r|\n")
#: Control, format (such as text from right to left), private, surrogate and separating characters.
_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})


def shown_files(files: StudyFiles) -> Iterator[str]:
    """Write each file for people, a line at a time, with its name and the lines' numbers."""
    for name, data in files.items():
        lines = _LINE_END.split(data.decode("utf-8", "backslashreplace"))
        if lines[-1] == "":
            lines.pop()
        yield f"{name}: {len(lines):,} lines, {len(data):,} bytes"
        width = len(str(len(lines)))
        for number, line in enumerate(lines, 1):
            yield f"{name}:{number:>{width}} | {visible(line)}"


def visible(line: str) -> str:
    """Write every character that a screen hides, moves or takes as a command by its number."""
    return "".join(
        char
        if char == " " or unicodedata.category(char) not in _INVISIBLE
        else char.encode("unicode_escape").decode("ascii")
        for char in line
    )
