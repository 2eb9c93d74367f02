"""What a site's patients have spent of their privacy, in words for its administrator."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from wardround.learning.privacy.accountant import Neighbours, PrivacyAccount
from wardround.protocol.identifiers import SiteAddress, StudyId, bytes32
from wardround.protocol.study import StudySpec
from wardround_client.guard.accounts import Alike, booked_accounts, booked_people
from wardround_client.guard.book import read_book
from wardround_client.guard.people import People, PeopleStore
from wardround_client.guard.policy import approved_policy
from wardround_client.home import Home

_NO_STUDY = StudyId(bytes(32))


class SiteAccount:
    """The account that a guard keeps, read from its log, also while it runs.

    The table is not read: the account is that of the people who were booked so far, each with as
    many rows as at most.
    """

    def __init__(self, home: Home, site: SiteAddress) -> None:
        """Read the policy in force and the log.

        Raises:
            SpecificationError: no policy is approved, or it was altered.
            LogError: the log is missing, damaged or kept from this user.
        """
        self._policy = approved_policy(home.policy, site).policy
        self._book, self._store = read_book(home.log), PeopleStore(home.people)

    @property
    def studies(self) -> list[StudyId]:
        """Every study in which something was spent, or a model measured."""
        return [StudyId(bytes32(study, "study")) for study in self._book.studies]

    def of_site(self) -> str:
        """Tell what was spent in all studies together.

        Raises:
            LogError: the set of people of a line is missing or altered.
        """
        limit, delta = self._policy.max_epsilon, self._policy.delta
        alike = self._alike(_NO_STUDY)
        words = _most((one.home for one in alike), limit, delta)
        if limit is None:
            words += "; the policy in force has no max_epsilon"
        if not alike:
            return words
        spent = [] if limit is None else [one for one in alike if self._is_spent(one, limit)]
        if self._people is None:
            return f"one account for all rows, {words}{'; it is spent' if spent else ''}"
        count = sum(len(one.rows) // one.rows_each for one in spent)
        ended = "" if limit is None else f"; {count:,} have spent it"
        return f"{len(self._people.persons):,} patients, {words}{ended}"

    def of_study(self, study: StudyId, spec: StudySpec | None) -> str:
        """Tell what was spent in one study, and how often it was measured.

        Args:
            study: its id.
            spec: None where it is not known any more.
        Raises:
            LogError: the set of people of a line is missing or altered.
        """
        limit, delta = None, self._policy.delta
        if spec is not None and spec.privacy is not None:
            limit, delta = spec.privacy.target_epsilon, spec.privacy.delta
        words = _most((one.study for one in self._alike(study)), limit, delta)
        if not self._policy.evaluate:
            return words
        measured, allowed = self._book.measured_models(study), self._policy.measured_models
        return f"{words}; {measured} of {allowed} models measured"

    @cached_property
    def _people(self) -> People | None:
        return booked_people(self._book.spent, self._store)

    def _alike(self, study: StudyId) -> list[Alike]:
        return booked_accounts(self._book.spent, study, self._store)

    def _is_spent(self, one: Alike, limit: float) -> bool:
        """Whether another round like the last would exceed the budget."""
        spent = self._book.spent
        last = next((line for line in reversed(spent) if line.attempt), spent[-1])
        after = one.home.after(one.cost(last.mechanism))
        return after.epsilon(self._policy.delta) > limit


def _most(accounts: Iterable[PrivacyAccount], limit: float | None, delta: float) -> str:
    """Tell of the person of whom most is spent."""
    most = max(accounts, key=lambda one: one.epsilon(delta), default=PrivacyAccount())
    bound = "" if limit is None else f" of {limit:g}"
    if not most.mechanisms:
        return f"epsilon 0{bound} at delta {delta:g}"
    more, replaced = (most.epsilon(delta, which) for which in Neighbours)
    return (
        f"epsilon at most {replaced:.3g}{bound} at delta {delta:g} "
        f"({more:.3g} for one more or less)"
    )
