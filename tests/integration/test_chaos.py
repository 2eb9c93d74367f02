"""Kill the processes of a study, and see that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.plan import Kill, Trouble, Victim, named_kills, plan
from tests.chaos.play import SITES, play
from tests.chaos.report import kills


def test_plan_when_repeated_is_the_same_and_holds_every_kind() -> None:
    first, second = plan(200, 3), plan(200, 3)
    assert first == second
    assert plan(200, 4) != first
    assert set(named_kills()) <= set(first)
    assert set(Trouble) <= set(first)
    assert {one.victim for one in first if isinstance(one, Kill)} == set(Victim)


#: So few still hold every kind of trouble; `test_named_points.py` has the kills one by one.
DEATHS = 6


@pytest.mark.parametrize("kills", [1, 2, 7, 12, 40, 200])
def test_plan_has_as_many_deaths_as_were_asked_for(kills: int) -> None:
    deaths = [1 if one.point is None else 2 for one in plan(kills, 1) if isinstance(one, Kill)]
    assert kills <= sum(deaths) <= kills + 2


@pytest.mark.timeout(600)
@pytest.mark.deep
def test_study_when_processes_die_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeded: the same victims at the same steps every time."""
    said: list[str] = []
    # As the command's own --out, a path that starts where it is called.
    monkeypatch.chdir(tmp_path)
    (leg,) = play(Path("chaos"), DEATHS, 1, said.append, epochs=1)
    verdict = leg.verdict
    assert verdict.broken == [], said
    assert kills([leg]) >= DEATHS
    assert verdict.rounds == verdict.roots_equal == verdict.audited
    assert verdict.signatures == SITES * verdict.rounds
    assert (verdict.double_signatures, verdict.double_closes, verdict.lost_rewards) == (0, 0, 0)
