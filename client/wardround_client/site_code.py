"""A study's own files as an administrator reads them: in full, with nothing invisible."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wardround.host.screen import visible
from wardround.protocol.model import StudyFiles

#: Where Python ends a line; other characters that a screen breaks at are made visible.
_LINE_END = re.compile("\r\n|\r|\n")


def shown_files(files: StudyFiles) -> Iterator[str]:
    """Write each file for people, a line at a time, with its name and the lines' numbers.

    Letters beyond ASCII are written by their numbers: many look like others, or like nothing.
    """
    for name, data in files.items():
        lines = _LINE_END.split(data.decode("utf-8", "backslashreplace"))
        if lines[-1] == "":
            lines.pop()
        yield f"{name}: {len(lines):,} lines, {len(data):,} bytes"
        width = len(str(len(lines)))
        for number, line in enumerate(lines, 1):
            ascii_only = visible(line).encode("ascii", "backslashreplace").decode("ascii")
            yield f"{name}:{number:>{width}} | {ascii_only}"
