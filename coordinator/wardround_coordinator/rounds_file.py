"""The rounds file: a coordinator's report on each round, one JSON object a line.

It is for people who follow a study; chain and store hold all that counts. A round that was closed
twice, after a reorganisation, has two lines: the last one counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wardround.audit.figures import figures_of
from wardround.host.durable import append_line
from wardround.protocol.identifiers import SiteAddress
from wardround_coordinator.strategy import RoundResult


def round_summary(result: RoundResult, names: Mapping[SiteAddress, str]) -> dict[str, Any]:
    """Sum up a closed round as a JSON value.

    Args:
        result: the round.
        names: site names by address; a site without one goes by its address.
    Returns:
        Round, model root, gas, contributors, dropped sites with reasons, the sites' counts, and
        what these tell, by site and over all sites: accuracy with its interval where there is
        noise, AUC, log-loss; this round's rewards by site (decimal text, smallest unit) and wall
        time in seconds.
    """

    def name(site: str) -> str:
        return next((names[known] for known in names if known.lower() == site.lower()), site)

    manifest = result.facts.manifest
    measured = {name(site): one for site, one in result.measured.items()}
    return {
        "round": manifest.round,
        "model": manifest.model.root,
        "gas": result.facts.gas,
        "contributors": [name(row.entry().site) for row in manifest.contributions],
        "dropped": [{"site": name(row.site), "reason": row.reason} for row in manifest.dropped],
        "measures": {site: one.fields() for site, one in measured.items()},
        **figures_of(measured),
        "rewards": {name(site): str(share) for site, share in result.facts.shares.items()},
        "wall_seconds": round(result.wall_seconds, 4),
    }


def round_sentence(summary: dict[str, Any], rounds: int) -> str:
    """Put a line of the rounds file into words."""
    if "failed" in summary:
        return str(summary["failed"])
    words = f"round {summary['round']} of {rounds} closed: {len(summary['contributors'])} sites"
    if summary["dropped"]:
        dropped = (f"{row['site']} ({row['reason']})" for row in summary["dropped"])
        words += f", dropped {', '.join(dropped)}"
    accuracy, interval = summary["pooled_accuracy"], summary["pooled_accuracy_interval"]
    if interval is not None:
        low, high = interval
        words += f", accuracy {accuracy:.2f} ({low:.2f} to {high:.2f})"
    elif accuracy is not None:
        words += f", accuracy {accuracy:.4f}"
    elif summary["measures"]:
        words += ", accuracy not measured"
    return f"{words}, {summary['wall_seconds']:.1f} s"


def append_round(path: Path, value: Mapping[str, Any]) -> None:
    """Append one JSON object as a line; when this returns, it survives a crash."""
    append_line(path, json.dumps(value, sort_keys=True).encode())


def read_rounds(*paths: Path) -> list[dict[str, Any]]:
    """Read the reports on closed rounds, in their order; attempts that failed are left out.

    Args:
        paths: one for each coordinator. One that takes over may report the round before again, so
            the first report on a round counts.
    """
    reports: dict[int, dict[str, Any]] = {}
    for path in paths:
        reports = {**_reports(path), **reports}
    return [reports[number] for number in sorted(reports)]


def _reports(path: Path) -> dict[int, dict[str, Any]]:
    reports: dict[int, dict[str, Any]] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            value = json.loads(line)
        except ValueError:
            continue  # half a line, from a crash; the round was reported again
        if "failed" not in value:
            reports[value["round"]] = value
    return reports
