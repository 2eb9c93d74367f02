"""Members told from others, by loss and by gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.leak.readings import kept_secret, reading_of, scenario_of, sites_of, truths_of
from wardround.leak.membership import GRADIENT, LOSS, auc_limit, infer_members
from wardround.leak.outcome import AttackOutcome, Truth
from wardround.protocol.model import ModelSpec

SITE = "site-1"


def nothing(words: str) -> None:
    pass


def inferred(rows: int, features: int, rounds: int, **tables: Any) -> dict[str, AttackOutcome]:
    scenario = scenario_of(rows, features, rounds, **tables)
    spec, sites = scenario.specification, sites_of(scenario)
    reading = reading_of(spec, sites, kept_secret)
    found = infer_members(reading, SITE, truths_of(sites)[SITE], nothing)
    return {one.attack: one for one in found}


def test_members_when_a_model_learns_rows_by_heart_are_told() -> None:
    """More features than rows: each can be fitted by itself."""
    training = {"learning_rate": 0.1, "batch_size": 0, "local_epochs": 5}
    found = inferred(20, 600, 5, training=training)
    for attack in (LOSS, GRADIENT):
        area = found[attack].auc
        assert area is not None
        assert area > 0.9
        assert found[attack].leak


def test_members_when_rows_are_many_and_features_few_are_not_told() -> None:
    found = inferred(150, 4, 6)
    for attack in (LOSS, GRADIENT):
        area = found[attack].auc
        assert area is not None
        assert 0.35 < area < 0.65
        assert not found[attack].leak


def test_members_of_a_network_are_ordered_too() -> None:
    model = {"name": "mlp", "arguments": {"features": 4, "hidden": [5], "classes": 2}}
    found = inferred(20, 4, 3, model=model)
    assert {LOSS, GRADIENT} == found.keys()
    assert all(one.tried and one.auc is not None for one in found.values())


def test_membership_when_a_table_is_missing_or_the_code_is_foreign_is_not_tried() -> None:
    scenario = scenario_of(20, 4, 2)
    spec, sites = scenario.specification, sites_of(scenario)
    reading = reading_of(spec, sites, kept_secret)
    for one in infer_members(reading, SITE, Truth(train=sites[0].train), nothing):
        assert not one.tried
        assert "held-out" in one.words
    own = ModelSpec(
        file="model.py",
        factory="build",
        files={"model.py": "0x" + 64 * "0"},
        row_shape=[4],
        classes=2,
    )
    foreign = spec.model_copy(update={"model": own})
    reading = type(reading)(foreign, reading.sites, reading.rounds)
    for one in infer_members(reading, SITE, truths_of(sites)[SITE], nothing):
        assert not one.tried
        assert "not run here" in one.words


@pytest.mark.parametrize(("members", "others"), [(30, 16), (199, 104)])
def test_limit_is_above_what_random_scores_reach(members: int, others: int) -> None:
    random = np.random.default_rng(4)
    true = np.arange(members + others) < members
    limit = auc_limit(members, others)
    assert limit >= 0.75
    areas = []
    for _ in range(500):
        ranks = random.permutation(members + others)
        area = (ranks[true].sum() - members * (members - 1) / 2) / (members * others)
        areas.append(area)
    assert max(areas) < limit + 0.03
    assert np.mean(np.array(areas) >= limit) < 0.01
