"""What the counts of a round tell of its model: reported by coordinators, derived by audits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wardround.learning.errors import LearningError
from wardround.learning.privacy.counts import Histogram, intervals_of, metrics_of, pooled
from wardround.protocol.messages import Measured

#: The loss is the largest that the counts allow.
FIGURES = ("accuracy", "accuracy_interval", "auc", "log_loss")


def figures_of(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """What the counts of a round tell of its model, as reports on rounds have it.

    Args:
        measured: by site.
    Returns:
        Each of `FIGURES` by site, where its counts tell it, and of all sites together as
        ``pooled_FIGURE``, None where they do not.
    """
    counts = {site: Histogram.of(one) for site, one in measured.items()}
    each = {site: _figures(one) for site, one in counts.items()}
    union = _figures(pooled(list(counts.values()))) if counts else {}
    by_site = {
        figure: {site: one[figure] for site, one in each.items() if figure in one}
        for figure in FIGURES
    }
    return {**by_site, **{f"pooled_{figure}": union.get(figure) for figure in FIGURES}}


def _figures(found: Histogram) -> dict[str, Any]:
    try:
        metrics = metrics_of(found)
    except LearningError:
        return {}  # of so few rows that noise leaves none to count
    figures = {"accuracy": metrics.accuracy, "auc": metrics.auc, "log_loss": metrics.log_loss[1]}
    if not found.deviation:
        return figures
    return {**figures, "accuracy_interval": list(intervals_of(found)["accuracy"])}
