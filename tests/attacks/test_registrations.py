"""Sites register, and hide or show their data, while the coordinator waits for others.

A coordinator that leaves a registered contribution out commits a provable fraud. An honest
one, which runs this very code, must not be driven into it by the order of registrations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.coordinator.conftest import Hospitals, hospitals_of
from tests.coordinator.test_registrations import chunks_of, register, session
from wardround.audit.auditor import Auditor
from wardround.audit.notices import Powers
from wardround.chain.court import Court
from wardround.chain.errors import ContractReverted
from wardround.protocol.contribution import Entry
from wardround.protocol.inspection import chunks_from
from wardround.protocol.manifest import Dropped
from wardround.store import FolderStore
from wardround_coordinator.session import StudyPosition


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


WIDE = {"features": 1_200}


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Hospitals]:
    """Five hospitals, at least one needed, whose updates have five chunks."""
    arguments = {"sites": 5, "rows": 30, "test_rows": 10, **WIDE}
    yield from hospitals_of(
        tmp_path,
        model={"name": "logistic", "arguments": WIDE},
        aggregation={"min_sites": 1},
        data={"name": "generated", "arguments": arguments},
    )


@dataclass
class Crowd:
    """Sites that register when they like, and show what they like."""

    hospitals: Hospitals
    random: Random
    position: StudyPosition
    court: Court
    #: Of nodes that the coordinator has no reply of: how many chunks each shows at most.
    shows: dict[int, int]
    registered: dict[int, tuple[Entry, bytes]] = field(default_factory=dict)

    def wait(self, seconds: float) -> None:
        network = self.hospitals.network
        for node, limit in self.shows.items():
            if node not in self.registered:
                if self.random.random() < 0.5:
                    # From the cut-off on the contract refuses it.
                    with suppress(ContractReverted):
                        self.registered[node] = register(self.hospitals, node, self.position)
                continue
            entry, data = self.registered[node]
            where = (network.study, 1, self.position.previous.commitment)
            state = self.court.standing(*where, entry.site)
            count = min(state.unanswered, limit - state.shown)
            late = network.contract.chain.timestamp() > state.deadline
            if count > 0 and not late and self.random.random() < 0.7:
                count = self.random.randint(1, count)
                chunks = chunks_from(data, state.shown, count)
                self.court.answer_contribution(network.keys.sponsor, *where, entry.pack(), chunks)
        network.contract.chain.advance(self.random.choice([1, 60, max(1, int(seconds)), 1_800]))


@pytest.mark.parametrize("seed", range(4))
def test_honest_coordinator_among_sites_that_register_and_hide_at_random(
    wide: Hospitals, seed: int
) -> None:
    network, random = wide.network, Random(seed)
    assert chunks_of(network.params) == 5
    coordinator = session(wide, lambda seconds: crowd.wait(seconds))
    position = coordinator.position()
    # Half of them hide something: the last chunk, or more.
    silent = random.sample(range(1, 5), random.randint(1, 4))
    shows = {node: random.choice([0, 1, 4, 5, 5, 5]) for node in silent}
    crowd = Crowd(wide, random, position, Court(network.contract), shows)
    answers = list(wide.replies(position))
    for node in silent:
        site = wide.sites[node].lower()
        answers[node] = (node, Dropped(site=site, reason="no_reply", evidence="silent"))
    closed = coordinator.run_round(position, wide.asked, answers)
    auditor = Auditor(
        network.contract,
        network.study,
        FolderStore(network.folders.store),
        Powers(network.keys.sponsor, challenge=True),
        now=lambda: float(network.contract.chain.timestamp()),
    )
    notices = [one for _ in range(3) for one in auditor.step()]
    assert [one.words for one in notices if one.kind in ("breach", "challenged")] == []
    reasons = {row.site: row.reason for row in closed.settlement.manifest.dropped}
    hidden = 0
    for registered in network.contract.registered(network.study, 1):
        state = crowd.court.standing(
            network.study, 1, position.previous.commitment, registered.site
        )
        whole = state.shown == 5
        assert (registered.site in closed.state.accepted) is whole
        assert whole or reasons[registered.site.lower()] == "not_shown"
        hidden += not whole
    # Each that hid something has paid for it.
    owed = network.contract.owed(network.study, network.keys.coordinator.address)
    assert owed >= hidden * network.params.deposit
    assert network.contract.open_round(network.study).round == 2
