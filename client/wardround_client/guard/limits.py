"""Whom a round may use: the people of a table who stay within every limit on their epsilon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from wardround.learning.datasets.table import Table
from wardround.learning.privacy.accountant import Mechanism, PrivacyAccount, mechanism_of
from wardround.protocol.identifiers import StudyId
from wardround.protocol.study import PrivacySpec, TrainingSpec
from wardround_client.errors import Refusal
from wardround_client.guard.accounts import Alike, accounts_of
from wardround_client.guard.book import Spent
from wardround_client.guard.people import PeopleStore, persons_of
from wardround_client.settings import HomeSettings
from wardround_client.sources.settings import DataSettings

#: How many there are of each unit of privacy.
_Units = dict[Literal["row", "patient"], int]


@dataclass(frozen=True)
class Limit:
    """The epsilon that an account may reach."""

    whose: str
    account: Callable[[Alike], PrivacyAccount]
    epsilon: float
    delta: float


def limits_of(settings: HomeSettings, privacy: PrivacySpec | None = None) -> Iterator[Limit]:
    """Give the site's limit, and a study's where its terms are given."""
    policy = settings.policy
    if policy.max_epsilon is not None:
        whose = "this site's patients"
        yield Limit(whose, lambda one: one.home, policy.max_epsilon, policy.delta)
    if privacy is not None and privacy.target_epsilon is not None:
        yield Limit("the study", lambda one: one.study, privacy.target_epsilon, privacy.delta)


def group_of(table: Table, settings: HomeSettings) -> str | None:
    """Name the column that tells whose each row is; None where none does."""
    return None if table.groups is None else settings.data.group


def accounts_in(
    table: Table,
    settings: HomeSettings,
    spent: Sequence[Spent],
    study: StudyId,
    store: PeopleStore,
) -> list[Alike]:
    """Divide a table's rows by what their people have spent; see `accounts_of`."""
    group = group_of(table, settings)
    persons = None if group is None else persons_of(table.people)
    return accounts_of(persons, len(table), group, spent, study, store)


def within_round(
    training: TrainingSpec, privacy: PrivacySpec, settings: HomeSettings, alike: list[Alike]
) -> tuple[list[Alike], Mechanism]:
    """Leave out of a round who would exceed a limit.

    Returns:
        Who is left, and what the round does to them.
    Raises:
        Refusal: ``budget-exhausted``; ``privacy-refused`` for a delta that is too large.
    """
    left, mechanism = within(
        alike, lambda units: mechanism_of(training, privacy, units[privacy.unit]), settings, privacy
    )
    delta = max([privacy.delta, *(one.delta for one in limits_of(settings, privacy))])
    if delta * (count := units_of(left)[privacy.unit]) >= 1:
        raise refused(f"delta is not below 1 / {count}, one over this site's {privacy.unit}s")
    return left, mechanism


def within(
    alike: list[Alike],
    cost: Callable[[_Units], Mechanism],
    settings: HomeSettings,
    privacy: PrivacySpec | None = None,
) -> tuple[list[Alike], Mechanism]:
    """Leave out who would exceed a limit; fewer units may cost the others more.

    Raises:
        Refusal: ``budget-exhausted``.
    """
    data, limits = settings.data, list(limits_of(settings, privacy))
    least = data.min_rows if isinstance(data, DataSettings) else 1
    left = alike
    while True:
        mechanism = cost(units_of(left))
        over: list[tuple[float, Limit]] = []
        fit = []
        for one in left:
            found = exceeded(one, mechanism, limits)
            if found is None:
                fit.append(one)
            else:
                over.append(found)
        if not over:
            return left, mechanism
        left = fit
        # As where the table is read, all rows of a person count as one.
        others = units_of(left)["patient"]
        if others < max(1, least):
            # Of all who are over, the one who is least.
            epsilon, limit = min(over, key=lambda pair: pair[0] / pair[1].epsilon)
            raise _exhausted(epsilon, limit, others, least)


def exceeded(
    one: Alike, mechanism: Mechanism, limits: Sequence[Limit]
) -> tuple[float, Limit] | None:
    """Give the epsilon and the limit below it that a mechanism would lead to; None within all."""
    own = one.cost(mechanism)
    for limit in limits:
        epsilon = limit.account(one).after(own).epsilon(limit.delta)
        if epsilon > limit.epsilon:
            return epsilon, limit
    return None


def units_of(alike: Sequence[Alike]) -> _Units:
    """How many rows, and of how many people."""
    rows = sum(len(one.rows) for one in alike)
    return {"row": rows, "patient": sum(len(one.rows) // one.rows_each for one in alike)}


def refused(reason: str) -> Refusal:
    """Refuse private training that would not be private enough."""
    return Refusal("privacy-refused", f"private training is refused: {reason}.")


def _exhausted(epsilon: float, limit: Limit, others: int, least: int) -> Refusal:
    words = (
        f"this round would bring {limit.whose} to epsilon {epsilon:.4g} at delta {limit.delta:g}, "
        f"more than the {limit.epsilon:g} it allows"
    )
    if others:
        words += f"; {others} others are left, and [data] min_rows asks for {least}"
    return Refusal("budget-exhausted", words + ".")
