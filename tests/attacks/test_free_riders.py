"""A cheat without work, or with more keys than rows, and what a round pays it.

The four hospitals train on their own rows for a few rounds, beside a cheat in the place of the
first. Training, rule, score and split are the product's; the cheat alone is made up. The whole
table is `python -m benchmarks free_riders`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from benchmarks import free_riders
from benchmarks.free_riders import Cheat, earned
from benchmarks.game import Game
from wardround.learning.datasets import DATA_DIR_VARIABLE
from wardround.protocol.record import RuleId, ScoringId

ROUNDS = 4
#: Columns of the table, with how much ten keys may earn beside one that trains as honestly. Under
#: the clipped mean ten copies also move the median norm.
SCORED = {
    (RuleId.MEAN, ScoringId.EXAMPLES): 1.1,
    (RuleId.MEAN, ScoringId.PROJECTION): 1.1,
    (RuleId.CLIPPED_MEAN, ScoringId.PROJECTION): 1.2,
}


@pytest.fixture
def game() -> Iterator[Game]:
    if not os.environ.get(DATA_DIR_VARIABLE):
        pytest.skip(f"no heart files: set {DATA_DIR_VARIABLE} to their folder")
    threads = torch.get_num_threads()
    yield Game.of("four-hospitals")
    torch.set_num_threads(threads)


@pytest.mark.deep
@pytest.mark.parametrize("rule", [RuleId.MEAN, RuleId.CLIPPED_MEAN])
@pytest.mark.parametrize("cheat", [free_riders.many_keys, free_riders.many_names])
def test_site_when_it_has_ten_keys_earns_no_more_than_with_one(
    game: Game, cheat: Cheat, rule: RuleId
) -> None:
    once = earned(game, free_riders.undivided, rule, ROUNDS)
    split = earned(game, cheat, rule, ROUNDS)
    for (column, scoring), factor in SCORED.items():
        if column is rule:
            words = f"{scoring.name}: one key earns {once[scoring]:.2f}, ten {split[scoring]:.2f}"
            assert split[scoring] <= factor * once[scoring], words


@pytest.mark.parametrize("cheat", [free_riders.zero, free_riders.noise])
def test_site_when_it_does_not_train_earns_next_to_nothing_by_projection(
    game: Game, cheat: Cheat
) -> None:
    got = earned(game, cheat, RuleId.MEAN, ROUNDS)[ScoringId.PROJECTION]
    assert got <= 0.25, f"no work earns {got:.2f} of what an honest hospital has"


@pytest.mark.parametrize("cheat", [free_riders.zero, free_riders.noise])
def test_site_when_it_does_not_train_is_paid_by_its_weight_all_the_same_by_examples(
    game: Game, cheat: Cheat
) -> None:
    """A limit that the docs state: `examples` does not look at updates."""
    got = earned(game, cheat, RuleId.MEAN, 1)[ScoringId.EXAMPLES]
    assert got == pytest.approx(
        earned(game, free_riders.undivided, RuleId.MEAN, 1)[ScoringId.EXAMPLES]
    )


def test_site_when_it_echoes_the_last_aggregate_is_paid_by_projection(game: Game) -> None:
    """A limit that the docs state: no score tells training from an echo of the last aggregate."""
    got = earned(game, free_riders.last_aggregate, RuleId.MEAN, ROUNDS)[ScoringId.PROJECTION]
    assert got > 0.25, "an echo earns next to nothing: say so in docs/rewards.md"
