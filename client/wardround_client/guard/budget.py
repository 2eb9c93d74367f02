"""What private training may still cost: booked before its noise is given out, for each attempt.

The budget belongs to the people whose rows they are, over all studies (`guard.accounts`). Who has
spent it is left out, and the site trains on the others.

Noise comes from a secret of its own for each attempt (`guard.noise_secrets`). The same round on the
same model and rows is the same attempt, so that it can be repeated without revealing anything new;
on another model or other rows it is another, and is booked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.table import Table
from wardround.learning.privacy.accountant import (
    Mechanism,
    Neighbours,
    PrivacyAccount,
    mechanism_of,
)
from wardround.learning.privacy.counts import counting
from wardround.protocol.identifiers import StudyId
from wardround.protocol.report import Privacy
from wardround.protocol.study import StudySpec
from wardround_client.errors import Refusal
from wardround_client.guard.accounts import Alike, accounts_of
from wardround_client.guard.approvals import Approval
from wardround_client.guard.book import Book, RoundKey, Spent
from wardround_client.guard.log import GuardLog
from wardround_client.guard.noise_secrets import NoiseSecrets
from wardround_client.guard.people import PeopleStore, people_of, persons_of
from wardround_client.settings import HomeSettings, PreparedTables
from wardround_client.sources.settings import DataSettings

#: A round is trained for so often at most: on another model or other rows, or after failures.
ATTEMPTS_MAX = 3
#: How people are named in prepared tables.
_PREPARED_GROUP = "groups"

Places = npt.NDArray[np.int64]
#: How many there are of each unit of privacy.
_Units = dict[Literal["row", "patient"], int]


@dataclass(frozen=True, eq=False)
class Allowance:
    """What private training may use and has cost.

    Attributes:
        secret: of this attempt's noise, 32 bytes; None of a measurement, and where the study is
            not private.
        rows: places of the rows that may be used, ascending; None for all.
        spent: what people spent before in this study, and what this adds; empty where nothing is
            booked.
        delta: of the study.
    """

    secret: bytes | None = field(repr=False)
    rows: Places | None
    spent: Sequence[tuple[PrivacyAccount, Mechanism]]
    delta: float

    @property
    def account(self) -> PrivacyAccount:
        """What the person of whom most is spent then had spent before."""
        return self._most[0] if self.spent else PrivacyAccount()

    @property
    def cost(self) -> Mechanism | None:
        """What this adds to that account."""
        return self._most[1] if self.spent else None

    @cached_property
    def _most(self) -> tuple[PrivacyAccount, Mechanism]:
        if len(self.spent) == 1:  # need not be weighed, which takes a tenth of a second
            return self.spent[0]
        return max(self.spent, key=lambda pair: pair[0].after(pair[1]).epsilon(self.delta))

    def part(self, table: Table) -> Table:
        """Give the rows that may be used."""
        return table if self.rows is None else table.part(self.rows)

    @property
    def stated(self) -> Privacy | None:
        """What a report states: for no person has more been spent in the study."""
        if not self.spent:
            return None
        account, cost = self._most
        after = account.after(cost)
        more, replaced = (after.epsilon(self.delta, which) for which in Neighbours)
        return Privacy(epsilon=more, epsilon_replaced=replaced, delta=self.delta)


@dataclass(frozen=True)
class _Limit:
    """The epsilon that an account may reach."""

    whose: str
    account: Callable[[Alike], PrivacyAccount]
    epsilon: float
    delta: float


class Budget:
    """The privacy accounts of a site's patients."""

    def __init__(
        self,
        book: Book,
        log: GuardLog,
        settings: HomeSettings,
        secrets: NoiseSecrets,
        people: PeopleStore,
    ) -> None:
        self._book, self._log, self._settings = book, log, settings
        self._secrets, self._people = secrets, people

    def begin(self, approval: Approval, key: RoundKey, table: Table) -> Allowance:
        """Book what a round costs, and give its noise out.

        Args:
            table: the training rows.
        Raises:
            Refusal: ``privacy-refused`` where the study asks for none and the site has a budget,
                or for what cannot be kept; ``budget-exhausted`` where too few rows are left of
                people within the study's epsilon and the site's; ``attempts-spent``.
            LogError: it could not be booked, or what was booked before is lost.
        """
        spec = approval.spec
        check_private_enough(spec, approval.study, self._settings)
        if spec.privacy is None:
            return Allowance(None, None, (), 0.0)
        attempts = self._book.attempts(key.study, key.round)
        for known in attempts:
            if (again := self._again(approval, key, table, known)) is not None:
                return again
        if len(attempts) >= ATTEMPTS_MAX:
            raise Refusal(
                "attempts-spent",
                f"round {key.round} was trained for {len(attempts)} times already, on other models "
                "or other rows: each time costs privacy, so this site leaves this round out.",
            )
        training, privacy = spec.training, spec.privacy
        limits = [*self._site_limits()]
        if privacy.target_epsilon is not None:
            target = privacy.target_epsilon
            limits.append(_Limit("the study", lambda one: one.study, target, privacy.delta))
        alike, mechanism = self._within(
            self._alike(key, table, self._book.spent),
            lambda units: mechanism_of(training, privacy, units[privacy.unit]),
            limits,
        )
        rows = _places(alike)
        delta, units = max([privacy.delta, *(one.delta for one in limits)]), _units(alike)
        if delta * (count := units[privacy.unit]) >= 1:
            raise _refused(f"delta is not below 1 / {count}, one over this site's {privacy.unit}s")
        # Durable before any line names it; a secret that none names is never used.
        secret = self._secrets.draw(key, len(attempts) + 1)
        self._book_rows(key, table, rows, mechanism, attempt=len(attempts) + 1)
        return _allowance(secret, rows, alike, mechanism, privacy.delta)

    def measure(self, key: RoundKey, table: Table, noise: float) -> Allowance:
        """Book the noised histogram of a model's predictions.

        Args:
            key: study and round, and as its base the model that is measured.
            table: the test rows.
            noise: standard deviation of the noise on each count.
        Raises:
            Refusal: ``budget-exhausted``.
            LogError: it could not be booked, or what was booked before is lost.
        """
        mechanism = counting(noise)
        limits = [*self._site_limits()]
        everybody = self._alike(key, table, self._book.spent)
        alike, _ = self._within(everybody, lambda units: mechanism, limits)
        rows = _places(alike)
        self._book_rows(key, table, rows, mechanism, attempt=0)
        return _allowance(None, rows, alike, mechanism, self._settings.policy.delta)

    # ---------------------------------------------------------------- whose rows

    def _again(
        self, approval: Approval, key: RoundKey, table: Table, known: Spent
    ) -> Allowance | None:
        """Give the same allowance again to the same attempt, as long as its secret is there."""
        if known.key != (key.fields()["study"], key.round, key.fields()["base"]):
            return None
        rows: Places = np.arange(len(table))
        if known.people is not None:
            if known.group != self._group(table):
                return None
            here = persons_of(table.people)
            rows = np.flatnonzero(self._people.read(known.people).rows_of(here))
        if not len(rows) or _digest(table.part(rows)) != known.rows:
            return None
        secret = self._secrets.find(key, known.attempt)
        if secret is None:
            return None
        at = next(n for n, one in enumerate(self._book.spent) if one is known)
        alike = self._alike(key, table.part(rows), self._book.spent[:at])
        assert approval.spec.privacy is not None  # it was booked
        return _allowance(secret, rows, alike, known.mechanism, approval.spec.privacy.delta)

    def _alike(self, key: RoundKey, table: Table, spent: Sequence[Spent]) -> list[Alike]:
        group = self._group(table)
        persons = None if group is None else persons_of(table.people)
        return accounts_of(persons, len(table), group, spent, key.study, self._people)

    def _group(self, table: Table) -> str | None:
        if table.groups is None:
            return None
        data = self._settings.data
        named = None if isinstance(data, PreparedTables) else data.group
        return named or _PREPARED_GROUP

    def _book_rows(
        self, key: RoundKey, table: Table, rows: Places, mechanism: Mechanism, attempt: int
    ) -> None:
        used, group = table.part(rows), self._group(table)
        people = None
        if group is not None:
            people = self._people.keep(people_of(persons_of(used.people)))
        # Durable before anything leaves, so a crash can only make accounts too high.
        line = self._log.append(
            "spent",
            **key.fields(),
            attempt=attempt,
            rows=_digest(used),
            group=group,
            people=people,
            mechanism=mechanism.model_dump(mode="json"),
        )
        self._book.take(line)

    # ---------------------------------------------------------------- what is left

    def _site_limits(self) -> Iterator[_Limit]:
        policy = self._settings.policy
        if policy.max_epsilon is not None:
            whose = "this site's patients"
            yield _Limit(whose, lambda one: one.home, policy.max_epsilon, policy.delta)

    def _within(
        self,
        alike: list[Alike],
        cost: Callable[[_Units], Mechanism],
        limits: Sequence[_Limit],
    ) -> tuple[list[Alike], Mechanism]:
        """Leave out who would exceed a limit; fewer units may cost the others more."""
        data = self._settings.data
        least = data.min_rows if isinstance(data, DataSettings) else 1
        left = alike
        while True:
            mechanism = cost(_units(left))
            over: list[tuple[float, _Limit]] = []
            within = []
            for one in left:
                exceeded = _exceeded(one, mechanism, limits)
                if exceeded is None:
                    within.append(one)
                else:
                    over.append(exceeded)
            if not over:
                return left, mechanism
            left = within
            # As where the table is read, all rows of a person count as one.
            others = _units(left)["patient"]
            if others < max(1, least):
                # Of all who are over, the one who is least.
                epsilon, limit = min(over, key=lambda pair: pair[0] / pair[1].epsilon)
                raise _exhausted(epsilon, limit, others, least)


def check_private_enough(spec: StudySpec, study: StudyId, settings: HomeSettings) -> None:
    """Refuse a study whose training would be less private than the site's policy demands.

    Raises:
        Refusal: ``privacy-refused`` where the site has a budget, and the study asks for no privacy
            or brings code that could undo it, unless the policy accepts it by name; or where the
            study asks for privacy and the rows are scaled by anything but declared ranges: clipping
            does not bound what one row changes in the scale of all others.
    """
    data, policy = settings.data, settings.policy
    if spec.privacy is None:
        if policy.max_epsilon is not None:
            raise _refused(
                "the study asks for no privacy of single rows, and [policy] max_epsilon bounds "
                "what this site may give away"
            )
        return
    if (
        policy.max_epsilon is not None
        and spec.model.is_own
        and not policy.accepts_solvable(spec, study)
    ):
        raise _refused(
            "the study's own files run where the noise is added and could leave it out, and "
            "[policy] max_epsilon bounds what this site may give away; read them, and accept the "
            f'study by name: accept_solvable = ["{spec.study.name}"]'
        )
    if isinstance(data, PreparedTables):
        if data.range is None:
            raise _refused(
                "nothing states by which range the prepared tables were scaled: scale them by "
                "ranges that do not follow from the rows, and write range in [data]"
            )
    elif data.scaling != "range":
        raise _refused(
            f'scaling = "{data.scaling}" in [data]: write scaling = "range", and a range for each '
            "numeric feature, so that no row changes how another is scaled"
        )


def _exceeded(
    one: Alike, mechanism: Mechanism, limits: Sequence[_Limit]
) -> tuple[float, _Limit] | None:
    own = one.cost(mechanism)
    for limit in limits:
        epsilon = limit.account(one).after(own).epsilon(limit.delta)
        if epsilon > limit.epsilon:
            return epsilon, limit
    return None


def _allowance(
    secret: bytes | None, rows: Places, alike: Sequence[Alike], mechanism: Mechanism, delta: float
) -> Allowance:
    spent = [(one.study, one.cost(mechanism)) for one in alike]
    return Allowance(secret, rows, spent, delta)


def _units(alike: Sequence[Alike]) -> _Units:
    """How many rows, and of how many people."""
    rows = sum(len(one.rows) for one in alike)
    return {"row": rows, "patient": sum(len(one.rows) // one.rows_each for one in alike)}


def _places(alike: Sequence[Alike]) -> Places:
    return np.sort(np.concatenate([one.rows for one in alike]))


def _digest(table: Table) -> str:
    digest = hashlib.sha256(table.features.tobytes())
    digest.update(table.labels.tobytes())
    if table.groups is not None:
        digest.update(table.groups.tobytes())
    return digest.hexdigest()


def _refused(reason: str) -> Refusal:
    return Refusal("privacy-refused", f"private training is refused: {reason}.")


def _exhausted(epsilon: float, limit: _Limit, others: int, least: int) -> Refusal:
    words = (
        f"this round would bring {limit.whose} to epsilon {epsilon:.4g} at delta {limit.delta:g}, "
        f"more than the {limit.epsilon:g} it allows"
    )
    if others:
        words += f"; {others} others are left, and [data] min_rows asks for {least}"
    return Refusal("budget-exhausted", words + ".")
