"""One prepared network for all tests of a site; its first round stays open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.networks import prepared, small_scenario
from wardround_simulations.network import Network


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("client") / "network"
    with prepared(small_scenario(), folder) as made:
        yield made
