"""One prepared network for all tests of a site; nobody closes a round in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client import client_app
from simulations.network import Network
from tests.integration.networks import prepared, small_scenario


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("client") / "network"
    with prepared(small_scenario(), folder) as made:
        yield made
        client_app.close_sites()
