"""A prepared network on an embedded chain, and what its sites would send."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.networks import prepared, small_scenario
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.fixed_point import Int32Vector, vector_bytes
from wardround.protocol.identifiers import SiteAddress, hex_of
from wardround.protocol.manifest import Dropped
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import VECTOR_DTYPE, VECTOR_FORMAT, TrainReply
from wardround.protocol.report import Privacy, Report
from wardround.store import FolderStore
from wardround_coordinator.session import Session, StudyPosition
from wardround_coordinator.verification import RawVector, Reply
from wardround_simulations.network import Network


@dataclass(frozen=True)
class Hospitals:
    """A network whose sites answer without training: random updates, truly signed."""

    network: Network

    @property
    def sites(self) -> list[SiteAddress]:
        return [SiteAddress(party.account.address) for party in self.network.parties]

    @property
    def asked(self) -> dict[int, SiteAddress]:
        return dict(enumerate(self.sites))

    def session(self) -> Session:
        """A coordinator that knows nothing but chain and store."""
        contract = self.network.contract
        store = FolderStore(self.network.folders.store)
        facts = contract.facts(self.network.study)
        return Session(contract, self.network.keys.coordinator, store, facts)

    def reply(
        self, node: int, position: StudyPosition, update: Int32Vector | None = None, weight: int = 0
    ) -> Reply:
        """What the site at a node sends; a weight of 0 means its number of rows."""
        network = self.network
        party = network.parties[node]
        if update is None:
            random = np.random.default_rng([position.round, node])
            count = network.params.parameter_count
            update = random.integers(-(2**18), 2**18, count, dtype=np.int32)
        rows = len(party.data.train)
        report = Report(
            study=hex_of(network.study),
            round=position.round,
            site=party.account.address.lower(),
            examples=rows,
            metrics={},
            privacy=stated_privacy(network, position.round),
            code=hex_of(network.params.code),
            seconds=0,
        ).encode()
        data = vector_bytes(update)
        entry = Entry(
            SiteAddress(party.account.address),
            weight or rows,
            vector_root(data),
            sha256_digest(report),
            bytes(65),
        )
        model = position.previous.record.model
        statement = entry.contribution(network.study, position.round, model)
        signature = statement.sign(network.contract.domain, bytes(party.account.key))
        delivery = TrainReply(
            network.study, position.round, replace(entry, signature=signature), report
        )
        return Reply(delivery.fields(), RawVector(VECTOR_DTYPE, VECTOR_FORMAT, data))

    def replies(self, position: StudyPosition) -> list[tuple[int, Reply | Dropped]]:
        return [(node, self.reply(node, position)) for node in self.asked]


def stated_privacy(network: Network, number: int) -> Privacy | None:
    """What a site states that has spent as much in each round."""
    private = network.scenario.specification.privacy
    if private is None:
        return None
    return Privacy(epsilon=number / 1000, epsilon_replaced=number / 1000, delta=private.delta)


def hospitals_of(tmp_path: Path, **tables: Any) -> Iterator[Hospitals]:
    with prepared(small_scenario(**tables), tmp_path / "network") as network:
        yield Hospitals(network)


@pytest.fixture
def hospitals(tmp_path: Path) -> Iterator[Hospitals]:
    """Three hospitals, at least two needed, mean."""
    yield from hospitals_of(tmp_path)


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Hospitals]:
    """Five hospitals, at least three needed, trimmed mean, root recording."""
    yield from hospitals_of(
        tmp_path,
        aggregation={"rule": "trimmed_mean", "trim": 1, "min_sites": 3},
        chain={"recording": "root"},
        data={
            "name": "generated",
            "arguments": {"sites": 5, "rows": 30, "test_rows": 10, "features": 6},
        },
    )
