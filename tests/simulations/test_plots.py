from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import matplotlib.pyplot as plt
import pytest

from wardround_simulations.plots import draw


def rounds(count: int, sites: int) -> list[dict[str, Any]]:
    names = [f"site-{number}" for number in range(sites)]
    return [
        {
            "round": number,
            "accuracy": dict.fromkeys(names, 0.5 + 0.01 * number),
            "pooled_accuracy": 0.5 + 0.01 * number,
            "rewards": {name: str(10**18) for name in names},
            "gas": 100_000 + number,
        }
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize(("count", "sites"), [(1, 1), (5, 4), (3, 30)])
def test_pictures_when_drawn_are_there_and_not_blank(
    tmp_path: Path, count: int, sites: int
) -> None:
    files = draw(rounds(count, sites), "a study", tmp_path / "plots")
    assert [path.name for path in files] == ["accuracy.png", "rewards.png", "gas.png"]
    for path in files:
        picture = matplotlib.image.imread(path)
        assert min(picture.shape[:2]) > 200
        assert picture[..., :3].std() > 0.02, "something is drawn"
    assert plt.get_fignums() == [], "nothing stays in memory"


def test_pictures_when_sites_come_and_go_are_drawn_all_the_same(tmp_path: Path) -> None:
    rows = rounds(3, 3)
    del rows[1]["accuracy"]["site-1"], rows[1]["rewards"]["site-1"]
    rows[2]["accuracy"] = {}
    rows[2]["pooled_accuracy"] = None
    assert len(draw(rows, "a study", tmp_path)) == 3


def test_pictures_of_a_run_when_it_is_finished_are_in_its_folder(finished: Path) -> None:
    names = sorted(path.name for path in (finished / "plots").iterdir())
    assert names == ["accuracy.png", "gas.png", "rewards.png"]
