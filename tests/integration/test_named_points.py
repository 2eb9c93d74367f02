"""A kill just before and just after every durable step of a round, one after the other."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.chaos.plan import Kill, Victim, named_kills
from tests.chaos.play import SITES, STANDBYS, chaos_scenario, subject_of, undisturbed
from tests.chaos.processes import Death
from tests.chaos.promises import Verdict, judge
from tests.chaos.run import Course, Director
from tests.chaos.stand import Stand, stand_up
from wardround.host.steps import Point, Step

#: A kill costs a round or two; some come before the first and after the last.
ROUNDS = 3 * len(named_kills()) // 2 + 5

pytestmark = [pytest.mark.deep, pytest.mark.timeout(900)]

EDGES = ("before", "after")
POINTS = {(step, edge) for step in Step for edge in EDGES}


@dataclass(frozen=True)
class Killed:
    """A study in which every named kill was carried out.

    Attributes:
        deaths: with who died.
    """

    course: Course
    verdict: Verdict
    deaths: list[tuple[str, Death]]
    said: list[str]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("named")
    # A kill at a step hits it however short the training is.
    scenario = chaos_scenario(ROUNDS, epochs=1)
    expected = undisturbed(scenario, folder / "undisturbed")
    said: list[str] = []
    started = time.monotonic()
    stand = stand_up(scenario, folder / "study", STANDBYS)
    said.append(f"stands after {time.monotonic() - started:.1f} s")
    try:
        # The order is the list's; only which site, and the moment within a round, are drawn.
        draw = random.Random(1)

        def say(words: str) -> None:
            said.append(f"{words}; round {stand.head()} of {ROUNDS} is open")

        course = Director(stand, draw, None, None, say).perform(list(named_kills()))
        verdict = judge(subject_of(stand), expected)
        said.append(f"judged after {time.monotonic() - started:.1f} s")
        return Killed(course, verdict, deaths_of(stand), said)
    finally:
        stand.close()
        print("\n".join(said))


def deaths_of(stand: Stand) -> list[tuple[str, Death]]:
    return [(name, death) for name, one in stand.troupe.actors.items() for death in one.deaths]


def test_list_holds_every_step_before_and_after_once() -> None:
    points = Counter((one.point.step, one.point.edge) for one in named_kills() if one.point)
    assert set(points) == POINTS
    assert set(points.values()) == {1}
    assert len(named_kills()) == 2 * len(Step)


def test_every_point_killed_a_process_of_the_one_who_takes_the_step(killed: Killed) -> None:
    died = [(name, death) for name, death in killed.deaths if death.point is not None]
    assert {(d.point.step, d.point.edge) for _, d in died if d.point} == POINTS
    assert {death.status for _, death in died} == {-9}
    for one in named_kills():
        assert one.point is not None
        names = {
            name for name, death in died if death.point == Point(one.point.step, one.point.edge)
        }
        assert names
        assert {name for name in names if not takes(one, name)} == set()


def takes(kill: Kill, name: str) -> bool:
    """Whether an actor's name is one of those whom a kill is meant for."""
    if kill.victim is Victim.GUARD:
        return name.endswith("-guard")
    if kill.victim is Victim.SITE:
        return name.startswith("site-") and not name.endswith("-guard")
    return name == "coordinator" or name.startswith("standby")


def test_study_recovers_from_every_one(killed: Killed) -> None:
    assert killed.course.left_out == []
    found = [(one.point, one.deaths) for one in killed.course.outcomes]
    wanted = [
        (f"{one.point.edge} {one.point.step}", 3 if one.victim is Victim.LOST else 2)
        for one in named_kills()
        if one.point
    ]
    assert found == wanted


def test_nothing_is_lost(killed: Killed) -> None:
    verdict = killed.verdict
    assert verdict.broken == [], killed.said
    assert verdict.rounds == verdict.roots_equal == verdict.audited == ROUNDS
    assert verdict.signatures == SITES * ROUNDS
    assert (verdict.double_signatures, verdict.double_closes, verdict.lost_rewards) == (0, 0, 0)
