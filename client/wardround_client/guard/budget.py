"""What private training may still cost: booked before its noise is given out, for each attempt.

The budget belongs to the people whose rows they are, over all studies (`guard.accounts`). Who has
spent it is left out, and the site trains on the others.

Noise comes from a secret of its own for each attempt (`guard.noise_secrets`). The same round on the
same model and rows is the same attempt, so that it can be repeated without revealing anything new;
on another model or other rows it is another, and is booked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from wardround.learning.datasets.table import Table
from wardround.learning.privacy.accountant import (
    Mechanism,
    Neighbours,
    PrivacyAccount,
)
from wardround.learning.privacy.counts import counting
from wardround.protocol.identifiers import StudyId
from wardround.protocol.report import Privacy
from wardround.protocol.study import StudySpec
from wardround_client.errors import Refusal
from wardround_client.guard.accounts import Alike, booked_accounts
from wardround_client.guard.approvals import Approval
from wardround_client.guard.book import Book, RoundKey, Spent
from wardround_client.guard.limits import (
    accounts_in,
    group_of,
    refused,
    within,
    within_round,
)
from wardround_client.guard.log import GuardLog
from wardround_client.guard.noise_secrets import NoiseSecrets
from wardround_client.guard.people import PeopleStore, people_of, persons_of
from wardround_client.settings import HomeSettings, PreparedTables

#: A round is trained for so often at most: on another model or other rows, or after failures.
ATTEMPTS_MAX = 3

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Allowance:
    """What private training may use and has cost.

    Attributes:
        secret: of this attempt's noise, 32 bytes; None of a measurement, and where the study is
            not private.
        rows: places of the rows that may be used, ascending; None for all.
        spent: what these people spent before in this study, and what this adds; empty where nothing
            is booked.
        stated: what a report states: the most that one patient has spent in the study so far,
            patients counted who are left out or gone from the table.
        delta: of the study.
    """

    secret: bytes | None = field(repr=False)
    rows: Places | None
    spent: Sequence[tuple[PrivacyAccount, Mechanism]]
    delta: float
    stated: Privacy | None

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
            return Allowance(None, None, (), 0.0, None)
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
        everybody = self._alike(key, table, self._book.spent)
        alike, mechanism = within_round(spec.training, spec.privacy, self._settings, everybody)
        rows = _places(alike)
        # Durable before any line names it; a secret that none names is never used.
        secret = self._secrets.draw(key, len(attempts) + 1)
        self._book_rows(key, table, rows, mechanism, attempt=len(attempts) + 1)
        return self._trained(secret, rows, alike, self._book.spent, approval)

    def measure(
        self, key: RoundKey, table: Table, noise: float, check: Callable[[Table], None]
    ) -> Allowance:
        """Book the noised histogram of a model's predictions.

        Args:
            key: study and round, and as its base the model that is measured.
            table: the test rows.
            noise: standard deviation of the noise on each count.
            check: refuses rows that are too few, once those of spent people are left out.
        Raises:
            Refusal: ``budget-exhausted``; as ``check``.
            LogError: it could not be booked, or what was booked before is lost.
        """
        mechanism = counting(noise)
        everybody = self._alike(key, table, self._book.spent)
        alike, _ = within(everybody, lambda units: mechanism, self._settings)
        rows = _places(alike)
        check(table.part(rows))
        self._book_rows(key, table, rows, mechanism, attempt=0)
        delta = self._settings.policy.delta
        return Allowance(None, rows, _spent(alike, mechanism), delta, None)

    # ---------------------------------------------------------------- whose rows

    def _again(
        self, approval: Approval, key: RoundKey, table: Table, known: Spent
    ) -> Allowance | None:
        """Give the same allowance again to the same attempt, as long as its secret is there."""
        if known.key != (key.fields()["study"], key.round, key.fields()["base"]):
            return None
        rows: Places = np.arange(len(table))
        if known.people is not None:
            if known.group != group_of(table, self._settings):
                return None
            here = persons_of(table.people)
            rows = np.flatnonzero(self._people.read(known.people).rows_of(here))
        if not len(rows) or _digest(table.part(rows)) != known.rows:
            return None
        secret = self._secrets.find(key, known.attempt)
        if secret is None:
            return None
        at = next(n for n, one in enumerate(self._book.spent) if one is known)
        spent = self._book.spent[: at + 1]
        alike = self._alike(key, table.part(rows), spent[:at])
        return self._trained(secret, rows, alike, spent, approval)

    def _trained(
        self,
        secret: bytes,
        rows: Places,
        alike: Sequence[Alike],
        spent: Sequence[Spent],
        approval: Approval,
    ) -> Allowance:
        """Put together what the last of these bookings allows, and what its report states."""
        assert approval.spec.privacy is not None  # it was booked
        delta = approval.spec.privacy.delta
        accounts = booked_accounts(spent, approval.study, self._people)
        # A patient who is left out now, or gone from the table, has still spent what was booked.
        worst = max((one.study for one in accounts), key=lambda one: one.epsilon(delta))
        more, replaced = (worst.epsilon(delta, which) for which in Neighbours)
        stated = Privacy(epsilon=more, epsilon_replaced=replaced, delta=delta)
        return Allowance(secret, rows, _spent(alike, spent[-1].mechanism), delta, stated)

    def _alike(self, key: RoundKey, table: Table, spent: Sequence[Spent]) -> list[Alike]:
        return accounts_in(table, self._settings, spent, key.study, self._people)

    def _book_rows(
        self, key: RoundKey, table: Table, rows: Places, mechanism: Mechanism, attempt: int
    ) -> None:
        used, group = table.part(rows), group_of(table, self._settings)
        without = table.part(np.setdiff1d(np.arange(len(table)), rows))
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
            left_out={"patients": without.person_count, "rows": len(without)},
            mechanism=mechanism.model_dump(mode="json"),
        )
        self._book.take(line)


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
            raise Refusal(
                "privacy-refused",
                "the study has no [privacy], so what it reveals of a patient has no bound, and "
                "[policy] max_epsilon sets one: ask the sponsor for a private study, or take "
                "max_epsilon out of site.toml.",
            )
        return
    if (
        policy.max_epsilon is not None
        and spec.model.is_own
        and not policy.accepts_solvable(spec, study)
    ):
        raise refused(
            "the study's own files run where the noise is added and could leave it out, and "
            "[policy] max_epsilon bounds what this site may give away; read them, and accept the "
            f'study by name: accept_solvable = ["{spec.study.name}"]'
        )
    if isinstance(data, PreparedTables):
        if data.range is None:
            raise refused(
                "nothing states by which range the prepared tables were scaled: scale them by "
                "ranges that do not follow from the rows, and write range in [data]"
            )
    elif data.scaling != "range":
        raise refused(
            f'scaling = "{data.scaling}" in [data]: write scaling = "range", and a range for each '
            "numeric feature, so that no row changes how another is scaled"
        )


def _spent(
    alike: Sequence[Alike], mechanism: Mechanism
) -> Sequence[tuple[PrivacyAccount, Mechanism]]:
    return [(one.study, one.cost(mechanism)) for one in alike]


def _places(alike: Sequence[Alike]) -> Places:
    return np.sort(np.concatenate([one.rows for one in alike]))


def _digest(table: Table) -> str:
    digest = hashlib.sha256(table.features.tobytes())
    digest.update(table.labels.tobytes())
    if table.groups is not None:
        digest.update(table.groups.tobytes())
    return digest.hexdigest()
