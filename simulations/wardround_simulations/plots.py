"""Pictures of a finished simulation: accuracy, rewards and gas by round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # draws into files; needs no screen

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

TOKEN = 10**18
#: Okabe and Ito's palette: distinguishable for colour-blind readers, also in grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_MANY_SITES = 12


def draw(rounds: Sequence[dict[str, Any]], title: str, folder: Path) -> list[Path]:
    """Draw every picture of a run.

    Args:
        rounds: one JSON value a closed round, at least one.
        title: the study's name.
        folder: where the PNG files go; made when missing.
    Returns:
        The files.
    """
    folder.mkdir(exist_ok=True)
    return [
        _accuracy(rounds, title, folder / "accuracy.png"),
        _rewards(rounds, title, folder / "rewards.png"),
        _gas(rounds, title, folder / "gas.png"),
    ]


def _accuracy(rounds: Sequence[dict[str, Any]], title: str, path: Path) -> Path:
    with _figure(path, f"{title}: accuracy on each site's own test rows") as axes:
        numbers = [row["round"] for row in rounds]
        sites = sorted({site for row in rounds for site in row["accuracy"]})
        for place, site in enumerate(sites):
            values = [row["accuracy"].get(site) for row in rounds]
            style: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)], "label": site}
            if len(sites) > _MANY_SITES:
                style = {"color": "#9aa5b1", "linewidth": 0.8, "alpha": 0.6}
            axes.plot(numbers, values, marker="o", markersize=3, **style)
        pooled = [row["pooled_accuracy"] for row in rounds]
        axes.plot(numbers, pooled, color="black", linewidth=2.5, label="all rows together")
        axes.set_ylabel("accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return path


def _rewards(rounds: Sequence[dict[str, Any]], title: str, path: Path) -> Path:
    with _figure(path, f"{title}: rewards earned so far") as axes:
        numbers = [row["round"] for row in rounds]
        sites = sorted({site for row in rounds for site in row["rewards"]})
        series = []
        for site in sites:
            total, values = 0.0, []
            for row in rounds:
                total += int(row["rewards"].get(site, "0")) / TOKEN
                values.append(total)
            series.append(values)
        colours = [COLOURS[place % len(COLOURS)] for place in range(len(sites))]
        axes.stackplot(numbers, series, labels=sites, colors=colours, alpha=0.9)
        axes.set_ylabel("tokens")
        axes.set_ylim(bottom=0)
        if len(sites) <= _MANY_SITES:
            handles, labels = axes.get_legend_handles_labels()
            axes.legend(
                handles[::-1],
                labels[::-1],
                frameon=False,
                loc="center left",
                bbox_to_anchor=(1.01, 0.5),
            )
    return path


def _gas(rounds: Sequence[dict[str, Any]], title: str, path: Path) -> Path:
    with _figure(path, f"{title}: gas of the one transaction that closes a round") as axes:
        numbers = [row["round"] for row in rounds]
        axes.bar(numbers, [row["gas"] for row in rounds], color=COLOURS[0], width=0.7)
        axes.set_ylabel("gas")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return path


@contextmanager
def _figure(path: Path, title: str) -> Iterator[Axes]:
    figure, axes = plt.subplots(figsize=(8, 4.2))
    try:
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color="#d9dee3", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        yield axes
        figure.savefig(path, dpi=110, bbox_inches="tight")
    finally:
        plt.close(figure)
