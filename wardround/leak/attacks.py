"""All attacks on all sites of a run, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wardround.leak.alone import divide_first_layer
from wardround.leak.chosen import difference_chosen
from wardround.leak.differences import compare_cohorts
from wardround.leak.measures import solve_measures
from wardround.leak.membership import AUC_LIMIT, infer_members
from wardround.leak.order import OnStep, guess_public_order, solve_whole_table
from wardround.leak.outcome import AttackOutcome, Truth
from wardround.leak.reading import Reading


def attack(
    reading: Reading,
    truths: Mapping[str, Truth],
    *,
    least_auc: float = AUC_LIMIT,
    on_step: OnStep = lambda words: None,
) -> Iterator[AttackOutcome]:
    """Try every attack on every site.

    Args:
        reading: all that the attacker has.
        truths: the sites' own rows by name, to judge by; a site without them is attacked too.
        least_auc: from which membership is a finding, where chance does not reach it.
        on_step: called with what is being done.
    Yields:
        One outcome an attack and site, also where an attack was not tried.
    """
    for site in reading.sites:
        truth = truths.get(site, Truth())
        yield guess_public_order(reading, site, truth, on_step)
        yield solve_whole_table(reading, site, truth, on_step)
        yield divide_first_layer(reading, site, truth, on_step)
        yield difference_chosen(reading, site, truth, on_step)
        yield solve_measures(reading, site, truth, on_step)
        yield compare_cohorts(reading, site, on_step)
        yield from infer_members(reading, site, truth, on_step, least_auc)
