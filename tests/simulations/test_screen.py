from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from wardround_simulations.screen import RunProgress, rewards_table, rounds_table


def rounds(count: int, sites: int = 2) -> list[dict[str, Any]]:
    names = [f"site-{number}" for number in range(sites)]
    return [
        {
            "round": number,
            "model": f"0x{number:064x}",
            "accuracy": {site: 0.25 + 0.5 * place for place, site in enumerate(names)},
            "pooled_accuracy": 0.5,
            "contributors": names[:-1] or names,
            "dropped": [{"site": names[-1], "reason": "range"}] if sites > 1 else [],
            "rewards": {site: str(10**18) for site in names},
            "gas": 123_456,
            "wall_seconds": 1.25,
        }
        for number in range(1, count + 1)
    ]


def shown(table: Any, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_when_a_screen_is_wide_has_a_column_a_site() -> None:
    text = shown(rounds_table(rounds(2), "tiny", 120))
    assert "site-0" in text
    assert "site-1" in text
    assert "25.0" in text
    assert "75.0" in text
    assert "1/2" in text
    assert "123,456" in text


def test_table_when_sites_do_not_fit_shows_the_worst_and_the_best() -> None:
    text = shown(rounds_table(rounds(2, sites=30), "tiny", 80), 80)
    assert "worst" in text
    assert "best" in text
    assert "site-7" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_table_when_a_study_is_long_shows_both_ends() -> None:
    text = shown(rounds_table(rounds(60), "tiny", 120))
    numbers = [line.split()[0] for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert numbers == [str(n) for n in (*range(1, 6), *range(46, 61))]
    assert "…" in text


def test_table_when_nobody_measured_shows_a_dash() -> None:
    rows = rounds(1)
    rows[0]["accuracy"], rows[0]["pooled_accuracy"] = {}, None
    for width in (120, 60):
        assert "–" in shown(rounds_table(rows, "tiny", width))


def test_rewards_when_laid_out_say_why_a_site_was_left_out() -> None:
    rows = rounds(3)
    rows[2]["dropped"] = [{"site": "site-1", "reason": "signature"}]
    text = shown(rewards_table(rows))
    assert "range ×2, signature ×1" in text
    assert "3.00" in text


def test_progress_when_rounds_close_counts_them() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    progress = RunProgress(console, rounds=2, sites=2)
    for _ in range(2):
        for kind in ("query", "train", "train", "evaluate", "evaluate"):
            progress.reply(1, kind, 0.1)
        progress.closed({"pooled_accuracy": 0.75})
    progress.closed({"pooled_accuracy": None})
    progress.stop()
    assert isinstance(console.file, io.StringIO)
    assert "75.0%" in console.file.getvalue()
