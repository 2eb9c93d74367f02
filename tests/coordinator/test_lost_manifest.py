"""A round whose manifest is withheld: the next coordinator cannot go on, and still answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chain.staged import Theatre, theatre
from wardround.chain.court_reader import DemandStatus
from wardround.protocol.evidence import Demand, What
from wardround.store.errors import ObjectMissing
from wardround_coordinator.strategy import WardroundStrategy
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater
from wardround_simulations.stage import GRACE_SECONDS, ROUND_SECONDS


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("lost-manifest"), studies=2) as opened:
        yield opened


def test_coordinator_that_cannot_go_on_answers_for_the_rounds_it_has_closed(
    scene: Theatre,
) -> None:
    stage, first, standby = scene.stage(rounds=4), scene.parties.first, scene.parties.standby
    stage.close(first)
    stage.close(first)
    contested, demand = scene.contested(stage, 2), Demand(What.MODEL, 0)
    scene.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    scene.ward.take_over(standby, stage.study)
    cheats.withhold_the_manifest(Cheater(stage, standby))
    scene.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    scene.ward.take_over(first, stage.study)
    scene.court.approve_deposit(scene.stranger, stage.study)
    scene.court.demand_chunk(scene.stranger, contested, demand)
    strategy = WardroundStrategy(
        stage.session(first), sites_wanted=1, reply_seconds=1.0, attempts=1
    )
    grid: Any = None
    # The service starts it again and again.
    for _ in range(2):
        with pytest.raises(ObjectMissing):
            strategy.start(grid)
    state = scene.court.demand_of(scene.court.demand_id(contested, demand))
    assert state.status is DemandStatus.ANSWERED
