"""When nodes that let a question run out are asked again."""

from __future__ import annotations

import pytest

from wardround_coordinator.silent_nodes import SilentNodes

NODE, OTHER = 7, 8


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def silent(clock: Clock) -> SilentNodes:
    return SilentNodes(clock)


def test_node_when_silent_is_not_asked_for_as_long_as_it_cost_then_twice(
    silent: SilentNodes, clock: Clock
) -> None:
    for pause in (10, 20, 40, 80, 160, 320, 640, 640):
        assert silent.is_due(NODE)
        assert silent.note(NODE, 10) == pause
        clock.now += pause - 1
        assert not silent.is_due(NODE)
        assert silent.is_due(OTHER)
        clock.now += 1
    assert silent.is_due(NODE)


def test_node_when_it_answers_is_asked_at_once_and_starts_anew(
    silent: SilentNodes, clock: Clock
) -> None:
    silent.note(NODE, 10)
    clock.now += 10
    silent.note(NODE, 10)
    assert silent.is_silent(NODE)
    silent.answered(NODE)
    assert silent.is_due(NODE)
    assert not silent.is_silent(NODE)
    assert silent.note(NODE, 10) == 10


def test_node_when_it_connects_again_is_asked_at_once(silent: SilentNodes) -> None:
    silent.note(NODE, 10)
    silent.see({NODE, OTHER})
    assert not silent.is_due(NODE), "it was there all the time"
    silent.see({OTHER})
    assert not silent.is_due(NODE)
    silent.see({NODE, OTHER})
    assert silent.is_due(NODE)


def test_node_when_away_is_asked_as_soon_as_it_is_connected(
    silent: SilentNodes, clock: Clock
) -> None:
    silent.note(NODE, 10, away=True)
    clock.now += 1000
    silent.see(set())
    assert not silent.is_due(NODE)
    silent.see({NODE})
    assert silent.is_due(NODE)
