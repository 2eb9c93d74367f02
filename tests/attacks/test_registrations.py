"""A second site registers its contribution while the coordinator waits for the first one's data.

A coordinator that leaves a registered contribution out commits a provable fraud. An honest
one, which runs this very code, must not be driven into it by the order of registrations.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.coordinator.conftest import Hospitals, hospitals_of
from tests.coordinator.test_registrations import register, session
from wardround.audit.auditor import Auditor
from wardround.audit.notices import Powers
from wardround.protocol.manifest import Dropped
from wardround.store import FolderStore


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Hospitals]:
    """Four hospitals, at least two needed, so that a round closes without two of them."""
    arguments = {"sites": 4, "rows": 30, "test_rows": 10, "features": 6}
    yield from hospitals_of(tmp_path, data={"name": "generated", "arguments": arguments})


def test_honest_coordinator_when_a_second_site_registers_meanwhile_is_not_convicted(
    four: Hospitals,
) -> None:
    network = four.network
    chain = network.contract.chain
    later = []

    def wait(_: float) -> None:
        if later:
            chain.advance(network.params.demand_seconds)
        else:
            chain.advance(60)
            later.append(register(four, 1, position))

    coordinator = session(four, wait)
    position = coordinator.position()
    register(four, 0, position)
    answers = list(four.replies(position))
    for node in (0, 1):
        site = four.sites[node].lower()
        answers[node] = (node, Dropped(site=site, reason="no_reply", evidence="silent"))
    coordinator.run_round(position, four.asked, answers)
    auditor = Auditor(
        network.contract,
        network.study,
        FolderStore(network.folders.store),
        Powers(network.keys.sponsor, challenge=True),
        now=lambda: float(chain.timestamp()),
    )
    notices = [notice for _ in range(3) for notice in auditor.step()]
    assert [one.words for one in notices if one.kind in ("breach", "challenged")] == []
    # The round that was closed is still the last one.
    assert network.contract.open_round(network.study).round == 2
