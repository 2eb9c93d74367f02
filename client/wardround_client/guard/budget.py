"""What private training may still cost: booked before its noise is given out, once a round.

Noise comes from a secret of its own for each round, made from the site's key and from what decides
the result. The same round on the same rows has the same secret, so that it can be repeated without
revealing anything new; on other rows it has another, and is booked again.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from wardround.learning.privacy.accountant import Mechanism, PrivacyAccount, mechanism_of
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.study import StudySpec
from wardround_client.errors import Refusal
from wardround_client.guard.approvals import Approval
from wardround_client.guard.book import Book, RoundKey
from wardround_client.guard.log import GuardLog
from wardround_client.guard.tables import TableFacts
from wardround_client.settings import HomeSettings, PreparedTables

_NOISE = b"wardround/guard/noise/1"


@dataclass(frozen=True)
class Allowance:
    """What private training may use and has cost.

    Attributes:
        secret: of this round's noise, 32 bytes in hexadecimal; None where the study is not private.
        account: spent in this study before this round.
    """

    secret: str | None
    account: PrivacyAccount


class Budget:
    """The privacy account of a site's table, over all studies."""

    def __init__(self, book: Book, log: GuardLog, settings: HomeSettings, noise_key: bytes) -> None:
        self._book, self._log, self._settings, self._key = book, log, settings, noise_key
        self._table = settings.data.name

    def begin(self, approval: Approval, key: RoundKey, facts: TableFacts) -> Allowance:
        """Book what a round costs, and give its noise out.

        Raises:
            Refusal: ``privacy-refused`` where the study asks for none and the table has a budget,
                or for what cannot be kept; ``budget-exhausted`` where the study's epsilon or the
                table's would be exceeded.
            LogError: it could not be booked.
        """
        check_private_enough(approval.spec, self._settings)
        if approval.spec.privacy is None:
            return Allowance(None, PrivacyAccount())
        before = self._spend(approval, key, facts)
        # What decides the result, and not the study's id: the same computation has the same noise.
        result = [key.round, hex_of(key.base), hex_of(approval.spec.digest), hex_of(approval.code)]
        rows = [self._table, facts.rows]
        secret = hmac.new(self._key, _NOISE + canonical_bytes(result + rows), hashlib.sha256)
        return Allowance("0x" + secret.hexdigest(), before)

    def _spend(self, approval: Approval, key: RoundKey, facts: TableFacts) -> PrivacyAccount:
        """Book what a round costs, once; give what the study had cost before it."""
        spec = approval.spec
        assert spec.privacy is not None  # asked for by the caller
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
            raise _refused(f"delta is not below 1 / {rows}, one over this site's rows")
        epsilon, target = _with(before, mechanism).epsilon(privacy.delta), privacy.target_epsilon
        if target is not None and epsilon > target:
            raise _exhausted("the study", epsilon, target, privacy.delta)
        if policy.max_epsilon is not None:
            spent = self._book.account_of_table(self._table)
            whole = _with(spent, mechanism).epsilon(policy.delta)
            if whole > policy.max_epsilon:
                raise _exhausted(f"table {self._table}", whole, policy.max_epsilon, policy.delta)


def check_private_enough(spec: StudySpec, settings: HomeSettings) -> None:
    """Refuse a study whose training would be less private than the site's policy demands.

    Raises:
        Refusal: ``privacy-refused`` where the table has a budget and the study asks for no privacy,
            or where it asks and the rows are scaled by anything but declared ranges: clipping does
            not bound what one row changes in the scale of all others.
    """
    data = settings.data
    if spec.privacy is None and settings.policy.max_epsilon is not None:
        raise _refused(
            "the study asks for no privacy of single rows, and [policy] max_epsilon bounds what "
            "this table may give away"
        )
    if spec.privacy is None:
        return
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


def _refused(reason: str) -> Refusal:
    return Refusal("privacy-refused", f"private training is refused: {reason}.")


def _exhausted(whose: str, epsilon: float, limit: float, delta: float) -> Refusal:
    return Refusal(
        "budget-exhausted",
        f"this round would bring {whose} to epsilon {epsilon:.4g} at delta {delta:g}, more than "
        f"the {limit:g} it allows.",
    )


def _with(account: PrivacyAccount, mechanism: Mechanism) -> PrivacyAccount:
    return account.compose(PrivacyAccount(mechanisms=[mechanism]))
