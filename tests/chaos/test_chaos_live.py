"""Who dies in a chaos run under Flower."""

from __future__ import annotations

import random

import pytest

from tests.chaos.live import LOST, VICTIMS, _victims


@pytest.mark.parametrize("kills", [1, 2, 5, len(VICTIMS), 25])
def test_victims_are_as_many_as_asked_for_and_a_lost_coordinator_is_among_them(kills: int) -> None:
    for seed in range(20):
        found = _victims(kills, random.Random(seed))
        assert len(found) == kills
        assert LOST in found
        assert set(found) <= set(VICTIMS)
        if kills >= len(VICTIMS):
            assert set(found) == set(VICTIMS)


def test_victims_are_the_same_for_the_same_seed() -> None:
    assert _victims(12, random.Random(7)) == _victims(12, random.Random(7))
    assert _victims(12, random.Random(7)) != _victims(12, random.Random(8))
