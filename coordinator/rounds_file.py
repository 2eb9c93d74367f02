"""What a coordinator tells of each round: one JSON object a line, in the order they closed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coordinator.strategy import RoundResult, SiteMetrics
from protocol.identifiers import SiteAddress, hex_of


def round_summary(result: RoundResult, names: Mapping[SiteAddress, str]) -> dict[str, Any]:
    """Sum up a closed round as a JSON value.

    Args:
        result: the round.
        names: site names by address; a site without one goes by its address.
    Returns:
        Round, model root, gas, contributors, dropped sites with reasons, accuracy, AUC and
        log-loss by site, pooled accuracy and log-loss, this round's rewards by site (decimal
        text, smallest unit) and wall time in seconds.
    """

    def name(site: str) -> str:
        return next((names[known] for known in names if known.lower() == site.lower()), site)

    settlement = result.closed.settlement
    metrics = {name(site): values for site, values in result.metrics.items()}
    return {
        "round": settlement.manifest.round,
        "model": hex_of(settlement.model.root),
        "gas": result.closed.gas,
        "contributors": [name(entry.site) for entry in result.closed.state.entries],
        "dropped": [
            {"site": name(row.site), "reason": row.reason} for row in settlement.manifest.dropped
        ],
        "accuracy": {site: values.accuracy for site, values in metrics.items()},
        "auc": {site: values.auc for site, values in metrics.items()},
        "log_loss": {site: values.log_loss for site, values in metrics.items()},
        "pooled_accuracy": _pooled_accuracy(metrics),
        "pooled_log_loss": _pooled_log_loss(metrics),
        "rewards": {name(site): str(share) for site, share in settlement.shares.items()},
        "wall_seconds": round(result.wall_seconds, 4),
    }


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one JSON object as a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, sort_keys=True) + "\n")


def _pooled_accuracy(metrics: Mapping[str, SiteMetrics]) -> float | None:
    examples = sum(values.examples for values in metrics.values())
    return sum(v.correct for v in metrics.values()) / examples if examples else None


def _pooled_log_loss(metrics: Mapping[str, SiteMetrics]) -> float | None:
    examples = sum(values.examples for values in metrics.values())
    if not examples:
        return None
    return sum(v.log_loss * v.examples for v in metrics.values()) / examples
