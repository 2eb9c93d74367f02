"""What a simulation shows while it runs and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

TOKEN = 10**18
#: Width of everything in the table of rounds but the sites' own columns.
_FIXED_WIDTH = 62
_ROUNDS_SHOWN = 25


class RunProgress:
    """Two bars: rounds of the study, and answers of the sites in this round."""

    def __init__(self, console: Console, rounds: int, sites: int) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._rounds = self._progress.add_task("rounds", total=rounds)
        self._sites = self._progress.add_task("sites training", total=sites)
        self._sites_total = sites
        self._progress.start()

    def reply(self, node: int, kind: str, seconds: float) -> None:
        """Count an answer; fits `wardround.transport.flower.grid.OnReply`."""
        if self._progress.tasks[self._sites].completed >= self._sites_total:
            self._progress.reset(self._sites)
        words = {"train": "sites training", "evaluate": "sites measuring"}.get(kind, "sites")
        self._progress.update(self._sites, description=words, advance=1)

    def closed(self, summary: Mapping[str, Any]) -> None:
        """Count a closed round and name its accuracy."""
        accuracy = summary["pooled_accuracy"]
        words = "rounds" if accuracy is None else f"rounds (accuracy {accuracy:.1%})"
        self._progress.update(self._rounds, advance=1, description=words)

    def stop(self) -> None:
        """Stop drawing."""
        self._progress.stop()


def rounds_table(rounds: list[dict[str, Any]], title: str, width: int) -> Table:
    """Lay the rounds out as a table; of a long study, the first and the last ones.

    Args:
        rounds: one JSON value a closed round, at least one.
        title: the study's name.
        width: of the screen; where a column a site does not fit, the worst and best are shown.
    """
    sites = sorted({site for row in rounds for site in row["accuracy"]})
    columns = _FIXED_WIDTH + sum(max(len(site), 4) + 3 for site in sites) <= width
    table = Table(
        title=f"{title}: accuracy in % on each site's own test rows",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    table.add_column("round", justify="right")
    table.add_column("model", no_wrap=True)
    for name in sites if columns else ("worst", "best"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("pooled", justify="right", style="bold")
    table.add_column("sites", justify="right", no_wrap=True)
    table.add_column("gas", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    shown = rounds if len(rounds) <= _ROUNDS_SHOWN else [*rounds[:5], *rounds[-15:]]
    last = 0
    for row in shown:
        if row["round"] > last + 1:
            table.add_row("…")
        last = row["round"]
        accuracy = row["accuracy"]
        values = [accuracy.get(site) for site in sites]
        if not columns:
            present = [value for value in values if value is not None]
            values = [min(present, default=None), max(present, default=None)]
        total = len(row["contributors"]) + len(row["dropped"])
        table.add_row(
            str(row["round"]),
            row["model"][:10],
            *map(_percent, values),
            _percent(row["pooled_accuracy"]),
            f"{len(row['contributors'])}/{total}",
            f"{row['gas']:,}",
            f"{sum(map(int, row['rewards'].values())) / TOKEN:,.0f}",
            f"{row['wall_seconds']:.1f} s",
        )
    return table


def rewards_table(rounds: list[dict[str, Any]]) -> Table:
    """Lay out what each site did over the whole study."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in ("site", "rounds", "accuracy", "tokens earned", "left out for"):
        table.add_column(name, justify="left" if name in ("site", "left out for") else "right")
    sites = sorted(
        {site for row in rounds for site in row["contributors"]}
        | {drop["site"] for row in rounds for drop in row["dropped"]}
    )
    for site in sites:
        reasons: dict[str, int] = {}
        for row in rounds:
            for drop in row["dropped"]:
                if drop["site"] == site:
                    reasons[drop["reason"]] = reasons.get(drop["reason"], 0) + 1
        earned = sum(int(row["rewards"].get(site, "0")) for row in rounds)
        table.add_row(
            site,
            str(sum(site in row["contributors"] for row in rounds)),
            _percent(rounds[-1]["accuracy"].get(site)),
            f"{earned / TOKEN:,.2f}",
            ", ".join(f"{reason} ×{count}" for reason, count in reasons.items()),
        )
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
