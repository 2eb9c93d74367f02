"""Benchmarks as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figure import Detail, Figure, Grid, Result


def show(
    console: Console,
    facts: Mapping[str, Any],
    results: Mapping[str, Result],
    seconds: float,
    quick: bool,
) -> None:
    """Print the figures, then what is behind them."""
    words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
    console.print(f"[dim]{words}[/dim]")
    if quick:
        console.print("Toy sizes: these numbers say only that the benchmarks work.")
    figures = Table("what", "ours", "beside it", "ratio", "target", "met")
    for column in figures.columns[1:5]:
        column.justify = "right"
        column.no_wrap = True
    for result in results.values():
        for figure in result.figures:
            figures.add_row(*_row(figure))
        figures.add_section()
    console.print(figures)
    for result in results.values():
        for title, rows in result.details.items():
            if rows:
                console.print(_details(title, rows))
        for grid in result.grids:
            console.print(_grid(grid))
    console.print(f"[dim]Measured in {seconds:g} s.[/dim]")


def _row(figure: Figure) -> list[str]:
    peer, ratio, target, met = "", "", "", ""
    if figure.peer is not None:
        peer = f"{_number(figure.peer, figure.unit)}\n{figure.peer_name}"
        ratio = f"{figure.ratio:,.3g}\n{figure.ratio_of}"
    if figure.target is not None:
        of = figure.unit if figure.absolute else "ratio"
        target = f"{figure.target}\n{of}"
        met = "[green]yes[/green]" if figure.met else "[red]no[/red]"
    return [figure.what, _number(figure.ours, figure.unit), peer, ratio, target, met]


def _details(title: str, rows: Sequence[Detail]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in rows:
        table.add_row(row.name, _number(row.value, row.unit))
    return table


def _grid(grid: Grid) -> Table:
    table = Table(*grid.columns, title=grid.title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for cells in grid.cells():
        table.add_row(*cells)
    return table


def _number(value: float, unit: str) -> str:
    if unit == "gas" or abs(value) >= 1000:
        return f"{value:,.0f} {unit}"
    return f"{value:.4g} {unit}" if abs(value) >= 0.001 else f"{value:.6f} {unit}"
