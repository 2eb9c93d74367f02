"""Networks to measure on: prepared as `wardround simulate` does, in a folder that goes away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Literal

import numpy as np

from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.faucet import DEV_CHAIN_ID, balances_of
from wardround.devchain.journal import start_journaled
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.identifiers import SiteAddress, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import VECTOR_DTYPE, VECTOR_FORMAT, TrainReply
from wardround.protocol.report import Report
from wardround.store import FolderStore
from wardround_coordinator.session import RoundOutcome, Session, StudyPosition
from wardround_coordinator.verification import RawVector, Reply
from wardround_simulations.network import Network, Party, new_folder, new_keys, prepare
from wardround_simulations.scenario import Scenario


@dataclass(frozen=True)
class Shape:
    """What a network to measure on looks like."""

    sites: int
    rounds: int = 1
    rows: int = 1
    test_rows: int = 100  # as many as a site wants before it measures a model
    features: int = 30
    hidden: tuple[int, ...] = ()
    recording: Literal["full", "root"] = "full"

    def scenario(self) -> Scenario:
        """As a scenario: generated rows, batches of 32, one local epoch."""
        arguments: dict[str, Any] = {"features": self.features}
        if self.hidden:
            arguments["hidden"] = list(self.hidden)
        return Scenario.model_validate(
            {
                "study": {"name": "benchmark", "rounds": self.rounds, "seed": 7},
                "model": {"name": "mlp" if self.hidden else "logistic", "arguments": arguments},
                "training": {"learning_rate": 0.05, "batch_size": 32, "local_epochs": 1},
                "aggregation": {"min_sites": self.sites},
                "chain": {"recording": self.recording},
                "data": {
                    "name": "generated",
                    "arguments": {
                        "sites": self.sites,
                        "rows": self.rows,
                        "test_rows": self.test_rows,
                        "features": self.features,
                    },
                },
            }
        )


#: Ten sites and a network of 100 x 950, 950 x 950, 950 x 1 weights and biases: 1,000,351 in all.
MILLION = Shape(sites=10, features=100, hidden=(950, 950))


@contextmanager
def prepared(scenario: Scenario) -> Iterator[Network]:
    """Lay a network out on an embedded chain with its journal; remove it all afterwards."""
    with TemporaryDirectory(prefix="wardround-bench-") as name:
        folders = new_folder(Path(name) / "network")
        keys = new_keys(folders)
        genesis = Genesis(DEV_CHAIN_ID, 1_800_000_000, balances_of(keys.addresses))
        chain = EmbeddedChain(f"benchmark-{time.monotonic_ns()}", genesis)
        journal = start_journaled(folders.journal, chain)
        try:
            yield prepare(scenario, folders, keys, chain, data_dir=None)
        finally:
            journal.close()
            chain.close()


def session_of(network: Network) -> Session:
    """Put the coordinator to work, without Flower."""
    contract = network.contract
    store = FolderStore(network.folders.store)
    return Session(contract, network.keys.coordinator, store, contract.facts(network.study))


def close_rounds(
    network: Network, session: Session, rounds: int
) -> Iterator[tuple[float, RoundOutcome]]:
    """Close rounds with random updates in place of training; give the seconds each took.

    Updates are normal with a standard deviation of 1/256, as a first local epoch gives.
    """
    position = session.position()
    addresses = (SiteAddress(party.account.address) for party in network.parties)
    asked = dict(enumerate(addresses))
    for _ in range(rounds):
        random = np.random.default_rng([7, position.round])
        replies = [_signed(network, party, position, random) for party in network.parties]
        started = perf_counter()
        closed = session.run_round(position, asked, enumerate(replies))
        yield perf_counter() - started, closed
        position = closed.position


def _signed(
    network: Network, party: Party, position: StudyPosition, random: np.random.Generator
) -> Reply:
    count = network.params.parameter_count
    scale = 2**network.scenario.aggregation.scale_bits / 256
    update = vector_bytes((random.standard_normal(count, np.float32) * scale).astype(np.int32))
    address = SiteAddress(party.account.address)
    report = Report(
        study=hex_of(network.study),
        round=position.round,
        site=address.lower(),
        examples=10_000,
        metrics={"train_loss": 0.5},
        privacy=None,
        code=hex_of(network.params.code),
        seconds=1,
    ).encode()
    weight = int(random.integers(1, 10_000))
    unsigned = Entry(address, weight, vector_root(update), sha256_digest(report), bytes(65))
    model = position.previous.record.model
    statement = unsigned.contribution(network.study, position.round, model)
    signature = statement.sign(network.contract.domain, bytes(party.account.key))
    entry = Entry(address, weight, unsigned.update, unsigned.report, signature)
    fields = TrainReply(network.study, position.round, entry, report).fields()
    return Reply(fields, RawVector(VECTOR_DTYPE, VECTOR_FORMAT, update))
