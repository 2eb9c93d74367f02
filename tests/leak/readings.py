"""Readings of studies that were trained here: leaking ones, and honest ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from tests.integration.networks import small_scenario
from wardround.leak.order import batches, public_seed, shuffled
from wardround.leak.outcome import Truth
from wardround.leak.reading import PublishedRound, Reading, Sent
from wardround.leak.replay import steps_of
from wardround.learning.datasets import load_dataset
from wardround.learning.datasets.table import SiteData
from wardround.learning.initial import initial_model
from wardround.learning.loss import classification_loss
from wardround.learning.models import build_model, load_flat
from wardround.learning.training import train_locally
from wardround.protocol.fixed_point import Int32Vector, add_exact, dequantize, quantize_update
from wardround.protocol.model import NO_FILES
from wardround.protocol.rules import aggregate
from wardround.protocol.study import StudySpec
from wardround_simulations.scenario import Scenario

#: Gives a site's update in a round.
Training = Callable[[StudySpec, SiteData, int, Int32Vector], Int32Vector]


def made_the_old_way(
    spec: StudySpec, site: SiteData, number: int, base: Int32Vector
) -> Int32Vector:
    """Train as version 1 did, with torch's own shuffle under a seed that is public."""
    orders = shuffled(public_seed(spec.study.seed, site.name, number), len(site.train))
    size, steps = spec.training.batch_size, steps_of(spec.training, len(site.train))
    model = build_model(spec.model, NO_FILES, spec.study.seed)
    flat = load_flat(model, dequantize(base, spec.aggregation.scale_bits))
    optimizer = torch.optim.SGD(model.parameters(), lr=spec.training.learning_rate)
    features, labels = torch.tensor(site.train.features), torch.tensor(site.train.labels)
    for rows in batches(orders, size, steps):
        optimizer.zero_grad()
        torch.autograd.backward(classification_loss(model(features[rows]), labels[rows]))
        optimizer.step()
    return quantize_update(flat.numpy(), base, spec.aggregation.scale_bits)


def seeded_in_public(
    spec: StudySpec, site: SiteData, number: int, base: Int32Vector
) -> Int32Vector:
    """Train as today, with the public seed in the place of the site's secret."""
    return trained(spec, site, base, public_seed(spec.study.seed, site.name, number))


def kept_secret(spec: StudySpec, site: SiteData, number: int, base: Int32Vector) -> Int32Vector:
    """Train as today, with a seed that follows from no number of the study."""
    return trained(spec, site, base, int.from_bytes(f"of {site.name} in {number}".encode(), "big"))


def scenario_of(
    rows: int, features: int, rounds: int, *, sites: int = 3, **tables: Any
) -> Scenario:
    """Three hospitals with made-up rows and a logistic model, unless other tables are given."""
    arguments = {"sites": sites, "rows": rows, "test_rows": rows, "features": features}
    given: dict[str, Any] = {
        "study": {"rounds": rounds},
        "model": {"name": "logistic", "arguments": {"features": features}},
        "data": {"name": "generated", "arguments": {**arguments, "noise": 1.0}},
        **tables,
    }
    return small_scenario(**given)


def sites_of(scenario: Scenario) -> Sequence[SiteData]:
    return load_dataset(scenario.data.name, scenario.data.arguments, data_dir=None).sites


def truths_of(sites: Sequence[SiteData]) -> dict[str, Truth]:
    return {site.name: Truth(site.train, site.test) for site in sites}


def trained(spec: StudySpec, site: SiteData, base: Int32Vector, seed: int) -> Int32Vector:
    """The update of one site in one round."""
    model = build_model(spec.model, NO_FILES, spec.study.seed)
    start = dequantize(base, spec.aggregation.scale_bits)
    result = train_locally(model, start, site.train, spec.training, seed)
    return quantize_update(result.weights, base, spec.aggregation.scale_bits)


def published(
    spec: StudySpec, number: int, base: Int32Vector, updates: Mapping[str, tuple[int, Int32Vector]]
) -> PublishedRound:
    """A round from its updates, each with its weight."""
    weights = [weight for weight, _ in updates.values()]
    change = aggregate(spec.rule, [update for _, update in updates.values()], weights)
    sent = {site: Sent(weight, weight, update) for site, (weight, update) in updates.items()}
    return PublishedRound(number, base, add_exact(base, change), sent)


def reading_of(spec: StudySpec, sites: Sequence[SiteData], training: Training) -> Reading:
    """A whole study, all of it readable."""
    rounds: list[PublishedRound] = []
    base = initial_model(spec).values
    for number in range(1, spec.study.rounds + 1):
        updates = {
            site.name: (len(site.train), training(spec, site, number, base)) for site in sites
        }
        rounds.append(published(spec, number, base, updates))
        base = rounds[-1].model
    return Reading(spec, [site.name for site in sites], rounds)
