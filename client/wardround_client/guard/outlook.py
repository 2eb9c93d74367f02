"""In how many rounds of a study a site can take part, and what they cost, before it joins."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wardround.learning.datasets.table import Table
from wardround.learning.privacy.accountant import Mechanism
from wardround.protocol.identifiers import StudyId
from wardround.protocol.study import StudySpec
from wardround_client.errors import Refusal
from wardround_client.guard.accounts import Alike
from wardround_client.guard.book import Spent
from wardround_client.guard.limits import accounts_in, exceeded, limits_of, within_round
from wardround_client.guard.people import PeopleStore
from wardround_client.settings import HomeSettings


@dataclass(frozen=True)
class Outlook:
    """What a private study may come to.

    Attributes:
        rounds: in which the site can take part, of all that the study has; at least 1.
        worst: the people of whom most is spent after these.
    """

    rounds: int
    worst: Alike


def outlook(
    spec: StudySpec,
    study: StudyId,
    table: Table,
    settings: HomeSettings,
    spent: Sequence[Spent],
    store: PeopleStore,
) -> Outlook | None:
    """Count the rounds that the guard would train in, by its own limits and accounts.

    Args:
        table: the training rows, as they are today.
        spent: in all studies so far.
    Returns:
        None for a study without privacy, which has no epsilon.
    Raises:
        Refusal: ``privacy-refused`` where not one round fits.
        LogError: a set of people that ``spent`` names is missing or altered.
    """
    training, privacy, rounds = spec.training, spec.privacy, 0
    if privacy is None:
        return None
    limits = list(limits_of(settings, privacy))
    alike = accounts_in(table, settings, spent, study, store)
    while rounds < spec.study.rounds:
        try:
            left, mechanism = within_round(training, privacy, settings, alike)
        except Refusal as refusal:
            if rounds:
                break
            raise Refusal(
                "privacy-refused",
                f"nothing is approved: you could take part in 0 of {spec.study.rounds} rounds: "
                f"{refusal.words} Ask the sponsor for more noise, a smaller delta or shorter "
                'rounds, for unit = "patient" where patients have several rows, or allow more in '
                "[policy] max_epsilon.",
            ) from None

        def ends(number: int, left: list[Alike] = left, one: Mechanism = mechanism) -> bool:
            """Whether a limit leaves a patient out within so many rounds like this one."""
            return any(exceeded(each, _times(one, number), limits) for each in left)

        # Until a limit leaves a patient out, each round costs the same.
        ahead = range(1, spec.study.rounds - rounds + 1)
        count = bisect(ahead, False, key=ends) if ends(ahead[-1]) else len(ahead)
        alike = [_after(one, _times(mechanism, count)) if one in left else one for one in alike]
        rounds += count
    return Outlook(rounds, max(alike, key=lambda one: one.study.epsilon(privacy.delta)))


def _times(mechanism: Mechanism, count: int) -> Mechanism:
    return mechanism.model_copy(update={"steps": mechanism.steps * count})


def _after(one: Alike, mechanism: Mechanism) -> Alike:
    own = one.cost(mechanism)
    return replace(one, study=one.study.after(own), home=one.home.after(own))
