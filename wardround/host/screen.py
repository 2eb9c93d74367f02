"""Text from elsewhere on a person's screen: nothing of it is hidden, and nothing is obeyed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

#: What takes a letter's place and shows nothing: the letters and marks of Unicode's
#: Default_Ignorable_Code_Point, the empty Braille pattern and two other blanks. The rest of that
#: property is control, format and unassigned characters, which `str.isprintable` knows.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)


class Screen(Console):
    """A terminal that obeys no text that it is given, in lines or in cells of tables."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make every character visible but the ends of lines."""
        return super().render_str("\n".join(map(visible, text.split("\n"))), **options)

    def show(self, text: str, style: str | None = None) -> None:
        """Print text from elsewhere as one line, whatever is in it, and without Rich's markup."""
        self.print(visible(text), style=style, markup=False, emoji=False)


def utc(seconds: int) -> str:
    """Write a time of the chain, seconds since 1970, for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def visible(text: str) -> str:
    """Write every character that a screen hides, moves or takes as a command by its number.

    Returns:
        One line, whatever the text was.
    """
    shown = _BLANK.sub(lambda found: _number(found[0]), text)
    return "".join(char if char.isprintable() else _number(char) for char in shown)


def _number(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
