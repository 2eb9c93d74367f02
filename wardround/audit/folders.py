"""Where things are in a network's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROUNDS_FILE = "rounds.jsonl"
NETWORK_FILE = "network.json"
SUMMARY_FILE = "summary.json"
MODEL_FILE = "model.safetensors"
EVENTS_FILE = "events.jsonl"
LAYOUT_FILE = "layout.json"


@dataclass(frozen=True)
class Folders:
    """The folder of a simulated network, and what lies in it."""

    root: Path

    @property
    def sites(self) -> Path:
        """One folder a site."""
        return self.root / "sites"

    @property
    def coordinator(self) -> Path:
        """The coordinator's settings and key."""
        return self.root / "coordinator"

    def standby(self, number: int) -> Path:
        """Settings and key of a standby, from 1."""
        return self.root / f"standby-{number}"

    @property
    def auditor(self) -> Path:
        """Keys of an auditor, who may read a confidential store and nothing else."""
        return self.root / "auditor"

    @property
    def store(self) -> Path:
        """The content store."""
        return self.root / "store"

    @property
    def simulation_key(self) -> Path:
        """Of which the simulated sites' secrets are made; a secret, as far as a reader goes."""
        return self.root / "simulation.key"

    @property
    def journal(self) -> Path:
        """Every transaction of the development chain."""
        return self.root / "journal.jsonl"

    @property
    def rounds(self) -> Path:
        """A JSON line a round."""
        return self.root / ROUNDS_FILE

    @property
    def all_rounds(self) -> list[Path]:
        """The rounds files of all coordinators, the first one's first."""
        return [self.rounds, *sorted(self.root.glob(f"standby-*/{ROUNDS_FILE}"))]

    @property
    def network(self) -> Path:
        """What the network is: chain, contract, study, sites."""
        return self.root / NETWORK_FILE

    @property
    def events(self) -> Path:
        """The contract's events about the study, a JSON line each."""
        return self.root / EVENTS_FILE

    @property
    def summary(self) -> Path:
        """What a simulation sums up at its end."""
        return self.root / SUMMARY_FILE

    @property
    def layout(self) -> Path:
        """Names and shapes of the model's parameters."""
        return self.root / LAYOUT_FILE

    def model(self, *, sealed: bool) -> Path:
        """The last model; beside the coordinator's keys where the store is encrypted."""
        return (self.coordinator if sealed else self.root) / MODEL_FILE
