"""Which contributions are locked together, and which locks on one base may be opened.

Two rules protect a member of a cohort: it has at least ``min_cohort`` members and, where the
member's ``min_cohort`` is 3 or more, the member's own weight is at most half of the cohort's (of
two, one weight is always half or more). Both look at the member itself, and both hold in every
larger cohort once they hold in one: size and total weight only grow. So the union of two cohorts
whose members all agree is such a cohort too, and there is one largest: the union of them all.
Removing whom a rule fails finds it, in any order: a site that fails among more sites fails among
fewer, so no member of the largest is ever removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import SiteAddress

#: From this ``min_cohort`` on a site's weight is at most half of the cohort's.
HALF_FROM = 3


class CohortTerms(NamedTuple):
    """What a contribution asks of its cohort: its weight and its ``min_cohort``."""

    weight: int
    min_cohort: int


#: Contributions by site, as far as the cohort rule looks at them.
Candidates = Mapping[SiteAddress, CohortTerms]


class Excuse(StrEnum):
    """Why a contribution is outside its round's cohort; there is no other reason."""

    MIN_COHORT = "min_cohort"
    WEIGHT_ABOVE_HALF = "weight_above_half"


def largest_cohort(candidates: Candidates) -> frozenset[SiteAddress]:
    """Find the largest cohort in which both rules hold for each member; it may be empty.

    Args:
        candidates: every contribution that could be locked.
    """
    members = dict(candidates)
    while True:
        total = sum(one.weight for one in members.values())
        failed = [site for site, one in members.items() if _fault(one, len(members), total)]
        if not failed:
            return frozenset(members)
        for site in failed:
            del members[site]


def excuses(
    candidates: Candidates, cohort: frozenset[SiteAddress]
) -> dict[SiteAddress, Excuse | None]:
    """Why each candidate that is not in a cohort is outside.

    Args:
        candidates: every contribution that could be locked.
        cohort: what was locked.
    Returns:
        By site: the rule that the site would fail if it alone were added. None where it would fail
        none; of `largest_cohort` there is no such site.
    """
    total, size = sum(candidates[site].weight for site in cohort), len(cohort)
    return {
        site: _fault(one, size + 1, total + one.weight)
        for site, one in candidates.items()
        if site not in cohort
    }


def check_cohort(candidates: Candidates, cohort: frozenset[SiteAddress]) -> None:
    """Check that a lock has the largest cohort of all contributions that could be locked.

    Raises:
        Malformed: a site that is no candidate, a member for which a rule fails, or a site left out
            without excuse; names the first by address.
    """
    right = largest_cohort(candidates)
    unknown, wrong, omitted = cohort - candidates.keys(), cohort - right, right - cohort
    for sites, reason in (
        (unknown, "sent no contribution"),
        (wrong, "its min_cohort, or half of the weight, does not hold"),
        (omitted, "was left out without excuse"),
    ):
        if sites:
            raise Malformed("cohort", f"{min(sites, key=str.lower)}: {reason}")


def may_answer(asked: Candidates, opened: Iterable[Candidates]) -> bool:
    """Whether a helper may open a lock, given the locks that were opened on the same base.

    It may where the lock has the same sites with the same weights as each of those, or differs from
    it by at least as many sites as the greatest ``min_cohort`` of both. A site with another weight
    counts as one that differs: the difference of the two sums is about its update too.

    Args:
        asked: contributions of the lock.
        opened: contributions of each opened lock on this base that gave no valid model.
    """
    return all(_apart(asked, before) for before in opened)


def _apart(asked: Candidates, before: Candidates) -> bool:
    differing = sum(
        _weight(asked, site) != _weight(before, site) for site in asked.keys() | before.keys()
    )
    needed = max((one.min_cohort for one in (*asked.values(), *before.values())), default=0)
    return differing == 0 or differing >= needed


def _weight(candidates: Candidates, site: SiteAddress) -> int:
    return candidates[site].weight if site in candidates else 0


def _fault(one: CohortTerms, size: int, total: int) -> Excuse | None:
    if size < one.min_cohort:
        return Excuse.MIN_COHORT
    if one.min_cohort >= HALF_FROM and 2 * one.weight > total:
        return Excuse.WEIGHT_ABOVE_HALF
    return None
