"""What a simulation leaves in its folder besides the study itself: summary, metrics, model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.audit.claims import earned_so_far
from wardround.audit.event_lines import event_line
from wardround.audit.model_file import round_model
from wardround.learning.metrics import evaluate_sites
from wardround.learning.models import build_model
from wardround.protocol.identifiers import hex_of
from wardround_coordinator.rounds_file import read_rounds
from wardround_simulations.network import Network


@dataclass(frozen=True)
class Results:
    """A finished simulation; ``summary`` is the JSON value that ``--json`` prints."""

    folder: Path
    summary: dict[str, Any]

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """One JSON value a closed round."""
        rounds: list[dict[str, Any]] = self.summary["rounds"]
        return rounds


def collect(network: Network, wall_seconds: float) -> Results:
    """Sum a finished simulation up, and write summary, events and the final model.

    The final model's figures are measured here on the union of all test tables, which only a
    simulation can do.
    """
    folders = network.folders
    rounds = read_rounds(*folders.all_rounds)
    summary: dict[str, Any] = {
        "study": hex_of(network.study),
        "scenario": network.scenario.study.name,
        "specification": hex_of(network.params.specification),
        "contract": network.contract.address,
        "chain_id": network.contract.chain.chain_id,
        "folder": str(folders.root),
        "rounds": rounds,
        "wall_seconds": round(wall_seconds, 3),
    }
    if rounds:
        summary["final"] = _final(network, rounds[-1])
    _write_events(network, folders.events)
    text = json.dumps(summary, indent=1)
    folders.summary.write_text(text + "\n", encoding="utf-8")
    return Results(folders.root, summary)


def _final(network: Network, last: dict[str, Any]) -> dict[str, Any]:
    spec, folders = network.scenario.specification, network.folders
    facts = network.contract.facts(network.study)
    (closed,) = network.contract.closed_rounds(network.study)[-1:]
    with network.store() as store:
        final = round_model(facts, spec, closed.round, closed.closing.record, store)
    # What the store encrypts lies in the clear only beside a key that opens it.
    final.write(folders.model(sealed=network.grants is not None), network.initial.layout)
    weights = final.weights()
    model = build_model(spec.model, spec.files, spec.study.seed)
    tables = [party.data.test for party in network.parties]
    each, pooled = evaluate_sites(model, weights, tables, spec.training.threads)
    names = [party.name for party in network.parties]
    return {
        "round": last["round"],
        "model": last["model"],
        "accuracy": {name: site.accuracy for name, site in zip(names, each, strict=True)},
        "average_accuracy": sum(site.accuracy for site in each) / len(each),
        "pooled_accuracy": pooled.accuracy,
        "pooled_auc": pooled.auc,
        "pooled_log_loss": pooled.log_loss,
        "earned": _earned(network),
    }


def _earned(network: Network) -> dict[str, str]:
    """What each site has earned by all closed rounds, in the token's smallest unit."""
    with network.store() as store:
        earned = earned_so_far(network.contract, network.study, store)
    return {site.lower(): str(amount) for site, amount in sorted(earned.items())}


def _write_events(network: Network, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for event in network.contract.events(network.study):
            file.write(event_line(event) + "\n")
