"""Two prepared networks for all tests of a site: in the first round, and in the second."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.coordinator.conftest import Hospitals
from tests.integration.networks import prepared, small_scenario
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.messages import TrainTask
from wardround_client.guard.client import guard_of
from wardround_simulations.network import Network

#: The log of the first party's guard, in the folder of the network in its second round.
LOG_OF_ONE_ROUND = "one-round.log"


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("client") / "network"
    with prepared(small_scenario(), folder) as made:
        yield made


@pytest.fixture(scope="session")
def later(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    yield from in_second_round(tmp_path_factory.mktemp("later") / "network")


def in_second_round(folder: Path) -> Iterator[Network]:
    """A network whose sites all had a part in the first round, which is closed."""
    with prepared(small_scenario(), folder) as made:
        hospitals = Hospitals(made)
        session = hospitals.session()
        position = session.position()
        spec = canonical_bytes(made.scenario.specification.document())
        task = TrainTask(made.params, position.previous, position.round, spec)
        for party in made.parties:
            guard_of(made.home(party)).train(task, position.base.values)
        # As it is now: a test may have more written into it.
        shutil.copy(made.home(made.parties[0]).log, made.folders.root / LOG_OF_ONE_ROUND)
        session.run_round(position, hospitals.asked, hospitals.replies(position))
        yield made
