"""What private training may still cost: booked before its noise is given out, once a round.

Noise comes from a secret of its own for each round, made from the site's key and from what decides
the result. The same round on the same rows has the same secret, so that it can be repeated without
telling anything new; on other rows it has another, and is booked again.
"""

from __future__ import annotations

import hashlib
import hmac
import math

from wardround.learning.privacy.accountant import Mechanism, PrivacyAccount, mechanism_of
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.report import Report
from wardround.protocol.study import StudySpec
from wardround_client.guard.approvals import Approval
from wardround_client.guard.book import Book, RoundKey
from wardround_client.guard.errors import BudgetExhausted, PrivacyRefused, ReportWrong
from wardround_client.guard.log import GuardLog
from wardround_client.guard.requests import Begun
from wardround_client.guard.tables import TableFacts
from wardround_client.settings import HomeSettings
from wardround_client.sources.errors import ScalingNotPrivate
from wardround_client.sources.prepare import check_private
from wardround_client.sources.settings import DataSettings

_NOISE = b"wardround/guard/noise/1"
#: Two computations of one epsilon may round differently.
_TOLERANCE = 1e-9


class Budget:
    """The privacy account of a site's table, over all studies."""

    def __init__(self, book: Book, log: GuardLog, settings: HomeSettings, key: bytes) -> None:
        self._book, self._log, self._settings, self._key = book, log, settings, key
        self._table = settings.data.name

    def begin(self, approval: Approval, key: RoundKey, facts: TableFacts) -> Begun:
        """Book what a round costs, and give its noise out.

        Returns:
            The secret and what the study had cost before; both None if it asks for no privacy.
        Raises:
            PrivacyRefused: the study asks for none where the table has a budget, or for what
                cannot be kept.
            BudgetExhausted: the study's epsilon or the table's would be exceeded.
            LogUnwritable: it could not be booked.
        """
        if approval.spec.privacy is None:
            self._check_unbounded()
            return Begun(secret=None, account=None)
        before = self._spend(approval, key, facts)
        rounds = [key.fields(), self._table, facts.rows, hex_of(approval.code)]
        secret = hmac.new(self._key, _NOISE + canonical_bytes(rounds), hashlib.sha256)
        return Begun(secret="0x" + secret.hexdigest(), account=before.model_dump(mode="json"))

    def check(self, report: Report, approval: Approval, key: RoundKey, facts: TableFacts) -> None:
        """See that what a report states as spent is what was booked.

        Raises:
            PrivacyRefused: nothing was booked for this round over these rows.
            ReportWrong: another epsilon or delta.
        """
        privacy = approval.spec.privacy
        if privacy is None:
            self._check_unbounded()
            if report.privacy is not None:
                raise ReportWrong("privacy", "is stated, but the study asks for none")
            return
        known = self._book.spent(key, self._table, facts.rows)
        if known is None:
            raise PrivacyRefused("nothing was booked for this round: begin it first")
        before = self._book.account_of_study(approval.study, known)
        epsilon = _with(before, known.mechanism).epsilon(privacy.delta)
        stated = report.privacy
        if (
            stated is None
            or stated.delta != privacy.delta
            or not math.isclose(stated.epsilon, epsilon, rel_tol=_TOLERANCE)
        ):
            raise ReportWrong("privacy", f"is not epsilon {epsilon:.6g} at {privacy.delta:g}")

    def _check_unbounded(self) -> None:
        if self._settings.policy.max_epsilon is not None:
            raise PrivacyRefused(
                "the study asks for no privacy of single rows, and [policy] max_epsilon bounds "
                "what this table may give away"
            )

    def _spend(self, approval: Approval, key: RoundKey, facts: TableFacts) -> PrivacyAccount:
        """Book what a round costs, once; give what the study had cost before it."""
        spec = approval.spec
        assert spec.privacy is not None  # asked for by the caller
        if isinstance(self._settings.data, DataSettings):
            try:
                check_private(self._settings.data, spec)
            except ScalingNotPrivate as error:
                raise PrivacyRefused(str(error)) from None
        known = self._book.spent(key, self._table, facts.rows)
        before = self._book.account_of_study(approval.study, known)
        if known is not None:
            return before
        mechanism = mechanism_of(spec.training, spec.privacy, facts.examples)
        self._check_left(spec, before, mechanism, facts.examples)
        # Durable before the secret leaves, so a crash can only make the account too high.
        line = self._log.append(
            "spent",
            **key.fields(),
            table=self._table,
            rows=facts.rows,
            mechanism=mechanism.model_dump(mode="json"),
        )
        self._book.take(line)
        return before

    def _check_left(
        self, spec: StudySpec, before: PrivacyAccount, mechanism: Mechanism, rows: int
    ) -> None:
        privacy, policy = spec.privacy, self._settings.policy
        assert privacy is not None
        table_delta = 0.0 if policy.max_epsilon is None else policy.delta
        if max(privacy.delta, table_delta) * rows >= 1:
            raise PrivacyRefused(f"delta is not below 1 / {rows}, one over this site's rows")
        epsilon, target = _with(before, mechanism).epsilon(privacy.delta), privacy.target_epsilon
        if target is not None and epsilon > target:
            raise BudgetExhausted("the study", epsilon, target, privacy.delta)
        if policy.max_epsilon is not None:
            spent = self._book.account_of_table(self._table)
            whole = _with(spent, mechanism).epsilon(policy.delta)
            if whole > policy.max_epsilon:
                whose = f"table {self._table}"
                raise BudgetExhausted(whose, whole, policy.max_epsilon, policy.delta)


def _with(account: PrivacyAccount, mechanism: Mechanism) -> PrivacyAccount:
    return account.compose(PrivacyAccount(mechanisms=[mechanism]))
