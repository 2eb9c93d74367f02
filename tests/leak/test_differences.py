"""Two models of one base, or of rounds in a row, whose cohorts differ by one site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tests.leak.readings import kept_secret, published, scenario_of, sites_of
from wardround.leak.differences import _isolated, compare_cohorts
from wardround.leak.reading import PublishedRound, Reading
from wardround.learning.initial import initial_model
from wardround.protocol.fixed_point import Int32Vector

SCENARIO = scenario_of(20, 4, 4)
SPEC, SITES = SCENARIO.specification, sites_of(SCENARIO)
BASE = initial_model(SPEC).values
NAMES = [site.name for site in SITES]
VICTIM = NAMES[-1]


def nothing(words: str) -> None:
    pass


def cohort(number: int, base: Int32Vector, names: Sequence[str]) -> PublishedRound:
    """A round of some of the sites."""
    updates = {
        site.name: (len(site.train) + place, kept_secret(SPEC, site, number, base))
        for place, site in enumerate(SITES)
        if site.name in names
    }
    return published(SPEC, number, base, updates)


def masked(one: PublishedRound) -> PublishedRound:
    """The same round where only the sum can be read."""
    sent = {name: replace(part, update=None) for name, part in one.sent.items()}
    return replace(one, sent=sent)


def test_update_when_an_attempt_is_repeated_without_its_site_is_isolated() -> None:
    fuller, lesser = cohort(1, BASE, NAMES), cohort(1, BASE, NAMES[:-1])
    clear = Reading(SPEC, NAMES, [replace(fuller, counts=False), lesser])
    found = compare_cohorts(clear, VICTIM, nothing)
    assert found.cosine is not None
    assert found.cosine > 0.999999
    # What everybody reads anyway is no finding of this attack.
    assert not found.leak
    assert "public anyway" in found.words
    hidden = compare_cohorts(
        replace(clear, rounds=[masked(fuller), masked(lesser)]), VICTIM, nothing
    )
    assert hidden.leak
    assert hidden.cosine is None


def test_update_when_cohorts_change_in_a_row_is_estimated() -> None:
    first = cohort(1, BASE, NAMES)
    second = cohort(2, first.model, NAMES[:-1])
    found = compare_cohorts(Reading(SPEC, NAMES, [first, second]), VICTIM, nothing)
    assert "1 pairs of rounds in a row" in found.words
    assert found.cosine is not None
    assert 0 < found.cosine < 0.9999
    hidden = Reading(SPEC, NAMES, [masked(first), masked(second)])
    assert not compare_cohorts(hidden, VICTIM, nothing).leak


def test_update_when_cohorts_differ_by_two_sites_is_not_isolated() -> None:
    rounds = [masked(cohort(1, BASE, NAMES)), masked(cohort(1, BASE, NAMES[:1]))]
    for name in NAMES:
        found = compare_cohorts(Reading(SPEC, NAMES, rounds), name, nothing)
        assert not found.leak
        assert "no two cohorts" in found.words


def test_difference_when_the_rule_is_no_mean_is_not_tried() -> None:
    aggregation = SPEC.aggregation.model_copy(update={"rule": "median"})
    spec = SPEC.model_copy(update={"aggregation": aggregation})
    found = compare_cohorts(Reading(spec, NAMES, [cohort(1, BASE, NAMES)]), VICTIM, nothing)
    assert not found.tried
    assert "median" in found.words


def test_isolated_update_is_off_by_the_rounding_of_two_means_alone() -> None:
    fuller, lesser = cohort(1, BASE, NAMES), cohort(1, BASE, NAMES[:-1])
    true = fuller.sent[VICTIM].update
    assert true is not None
    apart = np.abs(_isolated(fuller, lesser, VICTIM) - true).max()
    total = sum(part.weight for part in fuller.sent.values())
    assert apart <= 2 * total / fuller.sent[VICTIM].weight
