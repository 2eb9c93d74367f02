"""What a simulation leaves in its folder besides the study itself: summary, metrics, model."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from wardround.audit.claims import earned_so_far
from wardround.chain.events import Event, OtherEvent
from wardround.learning.export import export_model
from wardround.learning.metrics import evaluate_sites
from wardround.learning.models import build_model
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.fixed_point import dequantize, vector_from_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from wardround_coordinator.rounds_file import read_rounds
from wardround_simulations.network import Network

SUMMARY_FILE = "summary.json"
MODEL_FILE = "model.safetensors"
EVENTS_FILE = "events.jsonl"


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
    _write_events(network, folders.root / EVENTS_FILE)
    text = json.dumps(summary, indent=1)
    (folders.root / SUMMARY_FILE).write_text(text + "\n", encoding="utf-8")
    return Results(folders.root, summary)


def _final(network: Network, last: dict[str, Any]) -> dict[str, Any]:
    spec, folders = network.scenario.specification, network.folders
    count = network.params.parameter_count
    (closed,) = network.contract.closed_rounds(network.study)[-1:]
    cid = cid_from_sha256(closed.closing.record.manifest)
    with network.store() as store:
        manifest = parse_manifest(store.get(cid, MANIFEST_MAX_BYTES))
        values = vector_from_bytes(store.map(manifest.model.cid, 4 * count), count)
    weights = dequantize(values, spec.aggregation.scale_bits)
    metadata = {"study": hex_of(network.study), "round": str(last["round"]), "root": last["model"]}
    # What the store encrypts lies in the clear only beside a key that opens it.
    place = folders.root if network.grants is None else folders.coordinator
    export_model(weights, network.initial.layout, place / MODEL_FILE, metadata)
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
            file.write(json.dumps(_plain_event(event), sort_keys=True) + "\n")


def _plain_event(event: Event) -> dict[str, Any]:
    if isinstance(event, OtherEvent):
        name, values = event.name, event.values
    else:
        name, values = type(event).__name__, vars(event)
    return {
        "event": name,
        "study": hex_of(event.study),
        "block": event.log.block_number,
        "transaction": event.log.transaction_hash,
        "index": event.log.log_index,
        **{key: _plain(value) for key, value in values.items() if key not in ("study", "log")},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hex_of(value)
    if isinstance(value, IntEnum):
        return value.name.lower()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    # Amounts are decimal text, because JSON numbers end at 2**53.
    return str(value) if isinstance(value, int) and value >= 2**53 else value
