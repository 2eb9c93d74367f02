"""Why the operating system or a library failed, in one line for people."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\[Errno -?[0-9]+\] ")


def reason_of(error: Exception) -> str:
    """Return the error's text on one line, without the number of an `OSError`."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(_NUMBER.sub("", text).split())[:200] or type(error).__name__
