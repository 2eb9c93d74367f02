"""The cohort rule against every subset, and which locks on one base may be opened."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.masking import VECTORS
from tests.vectors import masking as slow
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import SiteAddress, address_of
from wardround.protocol.masking.cohort import (
    CohortTerms,
    Excuse,
    check_cohort,
    excuses,
    largest_cohort,
    may_answer,
)

SITES = [address_of(f"0x{number:040x}") for number in range(1, 9)]
TERMS = st.lists(
    st.tuples(st.one_of(st.integers(1, 64), st.sampled_from([1, 2, 64])), st.integers(1, 9)),
    max_size=8,
)


def named(terms: list[Any]) -> dict[SiteAddress, CohortTerms]:
    return {site: CohortTerms(*one) for site, one in zip(SITES, terms, strict=False)}


def sites_of(places: tuple[int, ...]) -> frozenset[SiteAddress]:
    return frozenset(SITES[place] for place in places)


@pytest.mark.parametrize("vector", VECTORS["cohorts"])
def test_cohort_is_that_of_the_vectors(vector: dict[str, Any]) -> None:
    assert largest_cohort(named(vector["terms"])) == sites_of(tuple(vector["cohort"]))


@settings(deadline=None, max_examples=300)
@given(TERMS)
def test_cohort_is_the_union_of_all_that_hold(terms: list[tuple[int, int]]) -> None:
    """So it is the largest one, and the only one of its size."""
    holding = slow.cohorts(terms)
    cohort = largest_cohort(named(terms))
    assert cohort == sites_of(holding[0])
    assert [places for places in holding if len(places) == len(cohort)] == [holding[0]]
    assert all(sites_of(places) <= cohort for places in holding)


@settings(deadline=None, max_examples=200)
@given(TERMS)
def test_each_site_outside_fails_a_rule_and_each_lock_but_one_is_refused(
    terms: list[tuple[int, int]],
) -> None:
    candidates = named(terms)
    cohort = largest_cohort(candidates)
    outside = excuses(candidates, cohort)
    assert outside.keys() == candidates.keys() - cohort
    assert None not in outside.values()
    for size in range(len(terms) + 1):
        for places in combinations(range(len(terms)), size):
            if sites_of(places) == cohort:
                check_cohort(candidates, cohort)
            else:
                with pytest.raises(Malformed):
                    check_cohort(candidates, sites_of(places))


@given(TERMS, st.randoms(use_true_random=False))
def test_order_of_contributions_does_not_matter(terms: list[tuple[int, int]], source: Any) -> None:
    candidates = named(terms)
    shuffled = list(candidates.items())
    source.shuffle(shuffled)
    assert largest_cohort(dict(shuffled)) == largest_cohort(candidates)


def test_excuses_name_the_rule() -> None:
    candidates = named([(1, 3), (1, 3), (1, 3), (64, 3), (1, 6)])
    cohort = largest_cohort(candidates)
    assert cohort == frozenset(SITES[:3])
    assert excuses(candidates, cohort) == {
        SITES[3]: Excuse.WEIGHT_ABOVE_HALF,
        SITES[4]: Excuse.MIN_COHORT,
    }
    assert excuses(candidates, frozenset(SITES[:2]))[SITES[2]] is None


def test_half_of_the_weight_is_no_limit_below_three() -> None:
    assert largest_cohort(named([(64, 2), (1, 2)])) == frozenset(SITES[:2])
    assert largest_cohort(named([(64, 3), (1, 2)])) == frozenset()
    assert largest_cohort(named([(2, 3), (1, 3), (1, 3)])) == frozenset(SITES[:3])
    assert largest_cohort(named([(3, 3), (1, 3), (1, 3)])) == frozenset()


@pytest.mark.parametrize(
    ("places", "reason"),
    [((0, 1, 2, 4), "min_cohort"), ((0, 1), "left out"), ((0, 1, 2, 7), "no contribution")],
)
def test_wrong_lock_names_a_site(places: tuple[int, ...], reason: str) -> None:
    candidates = named([(1, 2), (1, 2), (1, 2), (1, 9), (1, 9)])
    with pytest.raises(Malformed, match=reason):
        check_cohort(candidates, sites_of(places))


def test_helper_answers_for_the_same_sites_or_for_enough_others() -> None:
    whole = named([(2, 3), (2, 3), (2, 3), (2, 3), (2, 3), (2, 3)])
    assert may_answer(whole, [])
    assert may_answer(whole, [whole, dict(reversed(whole.items()))])

    def without(*places: int) -> dict[SiteAddress, CohortTerms]:
        return {site: one for site, one in whole.items() if SITES.index(site) not in places}

    assert not may_answer(without(0), [whole])
    assert not may_answer(whole, [without(0)])
    assert not may_answer(without(0, 1), [whole])
    assert may_answer(without(0, 1, 2), [whole])
    # One left out and one more than before: both differ.
    assert not may_answer(without(0), [without(1)])
    assert may_answer(without(0, 1), [without(2, 3)])
    assert not may_answer(without(0, 1, 2), [whole, without(0, 1, 3)])


def test_other_weight_counts_as_another_site() -> None:
    whole = named([(2, 3), (2, 3), (2, 3)])
    assert not may_answer(named([(3, 3), (2, 3), (2, 3)]), [whole])
    assert may_answer(named([(3, 3), (3, 3), (3, 3)]), [whole])


def test_greatest_min_cohort_of_both_locks_counts() -> None:
    whole = named([(1, 2), (1, 2), (1, 2), (1, 4)])
    assert not may_answer(named([(1, 2), (1, 2)]), [whole])
    assert may_answer(named([(1, 2), (1, 2)]), [named([(1, 2), (1, 2), (1, 2), (1, 2)])])
