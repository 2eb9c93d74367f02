"""Full-batch FedSGD through the whole protocol is pooled gradient descent, up to rounding.

With one full-batch step a site and weights equal to its rows, the weighted mean of what the sites
send is the step that gradient descent takes on all rows together. The only differences are

- rounding to fixed point at each site: at most 1/2 unit of ``2**-20``, and no more in their mean;
- the floor of the mean: less than 1 unit, always downward;
- a site's float32 arithmetic, where the reference uses float64: asserted here to stay below 1/2
  unit a round.

So each round is within `UNITS` = 2 units of the exact step, coordinate by coordinate. Over many
rounds nothing is amplified: the step of a convex, L-smooth loss at a learning rate of at most 2/L
does not increase distances in the Euclidean norm (Nesterov 2004, theorem 2.1.12), so after R
rounds the distance is at most ``R * sqrt(P) * UNITS * 2**-20``.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.integration.networks import run, small_scenario
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround.learning.datasets import load_dataset
from wardround.learning.datasets.base import Dataset
from wardround.protocol.fixed_point import vector_from_bytes

UNITS = 2.0
UNIT = 2.0**-20
Weights = npt.NDArray[np.float64]


def pooled_rows(dataset: Dataset) -> tuple[Weights, Weights]:
    """All training rows with a column of ones for the bias; float64, shapes (n, P) and (n,)."""
    rows = np.concatenate([site.train.features for site in dataset.sites]).astype(np.float64)
    labels = np.concatenate([site.train.labels for site in dataset.sites]).astype(np.float64)
    return np.hstack([rows, np.ones((len(rows), 1))]), labels


def step(weights: Weights, rows: Weights, labels: Weights, rate: float) -> Weights:
    """One step of gradient descent on the mean logistic loss."""
    errors = 1 / (1 + np.exp(-(rows @ weights))) - labels
    return weights - rate * (rows.T @ errors) / len(rows)


def models_of(folder: Path, count: int) -> list[Weights]:
    """Every model of a run, the initial one first, as the audit recomputes them."""
    with open_run(folder) as opened:
        audit = StudyAudit(opened.contract, opened.study, opened.store)
        manifests = [one.manifest for one in audit.rounds()]
        cids = [manifests[0].base.cid, *(one.model.cid for one in manifests)]
        vectors = [vector_from_bytes(opened.store.get(cid), count) for cid in cids]
    return [vector.astype(np.float64) * UNIT for vector in vectors]


@pytest.mark.parametrize(
    ("data", "rate", "rounds"),
    [
        ({"name": "breast-cancer", "arguments": {"sites": 4, "partition": "dirichlet"}}, 0.3, 12),
        pytest.param({"name": "heart"}, 0.5, 12, marks=pytest.mark.deep),
    ],
    ids=["breast-cancer", "heart"],
)
def test_full_batch_fedsgd_when_run_through_the_protocol_is_pooled_gradient_descent(
    request: pytest.FixtureRequest, tmp_path: Path, data: dict, rate: float, rounds: int
) -> None:
    if data["name"] == "heart":
        request.getfixturevalue("heart_folder")
    dataset = load_dataset(data["name"], data.get("arguments"))
    rows, labels = pooled_rows(dataset)
    count = rows.shape[1]
    scenario = small_scenario(
        study={"rounds": rounds},
        model={"name": "logistic", "arguments": {"features": count - 1}},
        training={"learning_rate": rate, "batch_size": 0, "local_steps": 1, "local_epochs": None},
        rewards={"scoring": "examples"},
        data={"arguments": {}, "range": None, **data},
    )
    results = run(scenario, tmp_path / "run")
    assert len(results.rounds) == rounds
    models = models_of(tmp_path / "run", count)
    smoothness = np.linalg.eigvalsh(rows.T @ rows / len(rows))[-1] / 4
    assert rate <= 2 / smoothness, "the argument above needs it"

    pooled = models[0]
    for number, (before, after) in enumerate(pairwise(models), 1):
        exact = step(before, rows, labels, rate)
        assert np.abs(after - exact).max() <= UNITS * UNIT, f"round {number} is not one step"
        pooled = step(pooled, rows, labels, rate)
        bound = number * np.sqrt(count) * UNITS * UNIT
        assert np.linalg.norm(after - pooled) <= bound, f"after round {number}"
    # The bound means something: descent has gone a thousand times as far.
    assert np.linalg.norm(pooled - models[0]) > 1000 * bound
    # The models differ by rounding: without any, this would be another protocol.
    assert np.abs(models[-1] - pooled).max() > 0
