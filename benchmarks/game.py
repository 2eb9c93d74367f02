"""Rounds of a scenario in memory: real rows, training, rules and scores; no chain, no network.

Cheats are functions here, so that one game is measured with each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch

from wardround.learning.datasets import load_dataset
from wardround.learning.datasets.table import Table
from wardround.learning.initial import initial_model
from wardround.learning.metrics import evaluate_sites
from wardround.learning.models import build_model
from wardround.learning.training import train_locally
from wardround.protocol.fixed_point import Int32Vector, dequantize, quantize_update
from wardround_simulations.scenario import Scenario, load_scenario


@dataclass(frozen=True)
class Game:
    """A scenario's sites, each with the rows that it trains on.

    Attributes:
        trains: one a site.
        tests: rows on which a model is measured, over all of them together.
    """

    scenario: Scenario
    trains: tuple[Table, ...]
    tests: tuple[Table, ...]

    @classmethod
    def of(cls, name: str) -> Game:
        """Load a scenario, with its data as `load_dataset` finds them."""
        torch.set_num_threads(1)
        scenario, _ = load_scenario(name)
        data = load_dataset(scenario.data.name, scenario.data.arguments)
        trains = tuple(site.train for site in data.sites)
        return cls(scenario, trains, tuple(site.test for site in data.sites))

    def with_training(self, **changes: Any) -> Game:
        """The same, trained otherwise; see `TrainingSpec`."""
        training = self.scenario.training.model_copy(update=changes)
        return replace(self, scenario=self.scenario.model_copy(update={"training": training}))

    @cached_property
    def first_model(self) -> Int32Vector:
        """``M_0``, int32, shape (P,)."""
        return initial_model(self.scenario.specification).values

    def trained(self, rows: Table, base: Int32Vector, seed: int) -> Int32Vector:
        """The update of a site that trains on some rows as the scenario says."""
        spec, bits = self.scenario.specification, self._bits
        model = build_model(spec.model, spec.files, spec.study.seed)
        result = train_locally(model, dequantize(base, bits), rows, spec.training, seed)
        return quantize_update(result.weights, base, bits)

    def accuracy(self, values: Int32Vector) -> float:
        """Share of all test rows that a model gets right, in [0, 1]."""
        spec = self.scenario.specification
        model = build_model(spec.model, spec.files, spec.study.seed)
        weights = dequantize(values, self._bits)
        return evaluate_sites(model, weights, list(self.tests))[1].accuracy

    def held(self, values: np.ndarray) -> Int32Vector:
        """Round and keep within the study's bound, as each update must be."""
        limit = self.scenario.specification.update_limit
        return cast(Int32Vector, np.clip(np.rint(values), -limit, limit).astype(np.int32))

    @property
    def _bits(self) -> int:
        return self.scenario.aggregation.scale_bits


def part_of(rows: Table, places: np.ndarray) -> Table:
    """Some of a table's rows."""
    return Table(rows.features[places], rows.labels[places])
