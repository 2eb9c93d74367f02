"""Rows that alone moved a unit of the first layer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.leak.readings import kept_secret, reading_of, scenario_of, sites_of, truths_of
from wardround.leak.alone import divide_first_layer
from wardround.leak.outcome import AttackOutcome, Truth

SITE = "site-1"
LOGISTIC = {"name": "logistic", "arguments": {"features": 4}}
MLP = {"name": "mlp", "arguments": {"features": 4, "hidden": [6]}}


def nothing(words: str) -> None:
    pass


def divided(batch: int, steps: int, *, judged: bool = True, **tables: Any) -> AttackOutcome:
    training = {
        "learning_rate": 0.2,
        "batch_size": batch,
        "local_steps": steps,
        "local_epochs": None,
        **tables.pop("training", {}),
    }
    scenario = scenario_of(12, 4, 12, training=training, **tables)
    spec, sites = scenario.specification, sites_of(scenario)
    truth = truths_of(sites)[SITE] if judged else Truth()
    return divide_first_layer(reading_of(spec, sites, kept_secret), SITE, truth, nothing)


@pytest.mark.parametrize("model", [LOGISTIC, MLP])
def test_rows_when_a_round_takes_one_are_read_though_the_order_is_secret(
    model: dict[str, Any],
) -> None:
    found = divided(1, 1, model=model)
    assert found.leak
    assert found.rebuilt is not None
    assert found.rebuilt >= 4  # twelve rounds draw fewer than twelve different rows


@pytest.mark.parametrize("model", [LOGISTIC, MLP])
def test_rows_when_a_round_takes_many_are_not_read(model: dict[str, Any]) -> None:
    found = divided(6, 4, model=model)
    assert found.tried
    assert not found.leak
    assert found.rebuilt == 0


def test_quotients_when_no_table_is_there_are_not_judged() -> None:
    found = divided(1, 1, judged=False)
    assert found.tried
    assert not found.leak
    assert "no table is here to judge by" in found.words


@pytest.mark.parametrize("model", [LOGISTIC, MLP])
@pytest.mark.parametrize("decay", [1e-6, 0.1])
def test_rows_when_decay_mixes_in_are_read_all_the_same(
    model: dict[str, Any], decay: float
) -> None:
    found = divided(1, 1, model=model, training={"weight_decay": decay})
    assert found.leak
    assert found.rebuilt is not None
    assert found.rebuilt >= 4


def test_quotients_when_decay_mixes_into_several_steps_are_tried() -> None:
    found = divided(6, 4, training={"weight_decay": 1e-6})
    assert found.tried
    assert found.rebuilt == 0


def test_quotients_when_the_optimiser_scales_each_number_are_not_tried() -> None:
    found = divided(1, 1, training={"optimizer": "adam"})
    assert not found.tried
    assert "adam" in found.words
