from __future__ import annotations

import io
import sys
import unicodedata

import pytest
from rich.table import Table

from tests.test_house import text_of
from tests.test_words import sources
from wardround.host.screen import Screen, visible
from wardround_client import site_commands
from wardround_coordinator import commands as coordinator_commands

#: Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, in ranges.
IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
BRAILLE_BLANK = "\u2800"


def test_no_character_of_unicode_is_hidden_or_obeyed() -> None:
    hidden = {chr(code) for first, last in IGNORABLE for code in range(first, last + 1)}
    hidden.add(BRAILLE_BLANK)
    shown = set(visible("".join(map(chr, range(sys.maxunicode + 1)))))
    assert not shown & hidden
    assert {char for char in shown if unicodedata.category(char)[0] in "CZ"} == {" "}


def test_characters_that_a_screen_hides_or_obeys_are_visible() -> None:
    hidden = "a\x1b[2J\r\x00\u202e\u2066\u200b\u2028\x0c\xa0\ufeff\te\x9b\u3164\n"
    shown = visible(hidden)
    assert shown == r"a\x1b[2J\r\x00\u202e\u2066\u200b\u2028\x0c\xa0\ufeff\te\x9b\u3164\n"
    assert visible("price = 'µ é 中' … δ") == "price = 'µ é 中' … δ"


def test_screen_obeys_nothing_in_lines_and_tables() -> None:
    out = io.StringIO()
    screen = Screen(file=out, force_terminal=True, width=60, no_color=True, highlight=False)
    table = Table("name")
    table.add_row("a\x1b[2Jb")
    screen.print("one\x1b[H", table, "two")
    screen.show("three\nfour [/bold] :skull: \x9b2J")
    assert "\x1b[2J" not in out.getvalue()
    assert "\x1b[H" not in out.getvalue()
    assert r"a\x1b[2Jb" in out.getvalue()
    last = out.getvalue().splitlines()[-1]
    assert last == r"three\nfour [/bold] :skull: \x9b2J"


def test_events_of_site_and_coordinator_stay_on_their_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A coordinator chooses part of the first, and sites of the second."""
    forged = "the coordinator asks to train (round \x1b[2J\n12:00:00 Approved)"
    for tell in (site_commands._tell, coordinator_commands._say):
        tell(forged)
        (line,) = capsys.readouterr().out.splitlines()
        assert line.endswith(r"(round \x1b[2J\n12:00:00 Approved)")


def test_every_command_prints_on_a_screen() -> None:
    plain = [one for one in sources() if "rich.console import Console" in text_of(one)]
    assert plain == ["simulations/wardround_simulations/screen.py", "wardround/host/screen.py"]
