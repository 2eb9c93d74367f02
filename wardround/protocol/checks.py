"""What must hold of a contribution, each check by its name (`wardround.protocol.reasons`).

A coordinator refuses a contribution for which one does not hold, under the check's name; a replay
refuses a round that has such a contribution, unless its site registered exactly it on chain, where
its coordinator had no choice. Both run these same functions, from cheap to expensive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import OutOfRange, ProtocolError, SignatureInvalid, WardroundError
from wardround.protocol.facts import StudyFacts
from wardround.protocol.fixed_point import IntVector, check_fits
from wardround.protocol.identifiers import Root, SiteAddress, hex_of
from wardround.protocol.manifest import Manifest
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import RuleId
from wardround.protocol.report import REPORT_MAX_BYTES, Privacy, Report, parse_report
from wardround.protocol.settlement import Fetch
from wardround.protocol.study import PrivacySpec, StudySpec


class CheckFailed(WardroundError):
    """A contribution does not hold: the check's name, and what was seen."""

    code = "check-failed"

    def __init__(self, check: str, seen: str) -> None:
        self.check = check
        self.seen = seen
        super().__init__(f"{check}: {seen}")


@dataclass(frozen=True)
class History:
    """What earlier rounds leave for the checks of later ones.

    Attributes:
        updates: every update so far by root: which site and round it came from.
        privacy: what each site stated last.
    """

    updates: Mapping[Root, str] = field(default_factory=dict)
    privacy: Mapping[SiteAddress, Privacy] = field(default_factory=dict)

    def after(self, manifest: Manifest, spec: StudySpec, fetch: Fetch) -> History:
        """Add what a closed round holds; a report that is not to be had adds nothing."""
        updates, privacy = dict(self.updates), dict(self.privacy)
        for row in manifest.contributions:
            entry = row.entry()
            updates.setdefault(entry.update, f"{row.site} sent it in round {manifest.round}")
            if spec.privacy is None:
                continue
            try:
                data = fetch(row.report.cid, REPORT_MAX_BYTES)
                stated = parse_report(data).privacy
            except WardroundError:
                continue
            if stated is not None and sha256_digest(data) == entry.report:
                privacy[entry.site] = stated
        return History(updates, privacy)


@dataclass(frozen=True)
class Asked:
    """What a round asks for: the study, and what came before."""

    facts: StudyFacts
    spec: StudySpec
    round: int
    history: History


def check_entry(facts: StudyFacts, number: int, base: Root, entry: Entry) -> None:
    """Check whose an entry is, its weight and its signature.

    Args:
        facts: the study as the chain knows it.
        number: the round's.
        base: root of the model that the round's updates start from.
        entry: to be checked.
    Raises:
        CheckFailed: ``not_member``, ``weight`` or ``signature``.
    """
    member = facts.members.get(entry.site)
    if member is None or not member.belongs(number):
        raise CheckFailed("not_member", "the contract does not admit this site to this round")
    if not 1 <= entry.weight <= member.max_weight:
        raise CheckFailed("weight", f"{entry.weight} is not in 1 .. {member.max_weight}")
    statement = entry.contribution(facts.study, number, base)
    try:
        statement.check_signature(facts.domain, entry.signature)
    except SignatureInvalid as error:
        raise CheckFailed("signature", error.reason) from error


def check_range(spec: StudySpec, update: IntVector, base: IntVector) -> None:
    """Check that a round can take an update in; then no aggregate of such leaves int32 either.

    Args:
        spec: the study's.
        update: int32, of a sum int64, shape (P,).
        base: the model that it starts from, of the same type and shape.
    Raises:
        CheckFailed: ``range``.
    """
    try:
        check_fits(update, spec.update_limit, None if spec.rule.id is RuleId.SUM else base)
    except OutOfRange as error:
        raise CheckFailed("range", str(error)) from error


def check_update(asked: Asked, entry: Entry, update: IntVector, base: IntVector) -> None:
    """Check an update's numbers: as `check_range`, and that they are those signed.

    Raises:
        CheckFailed: ``range`` or ``root``.
    """
    check_range(asked.spec, update, base)
    if vector_root(update.data) != entry.update:
        raise CheckFailed("root", "the update's bytes do not have the signed root")


def check_report(asked: Asked, entry: Entry, data: bytes | memoryview) -> Report:
    """Check that a report is the one that was signed, and states what the study allows.

    Raises:
        CheckFailed: ``report``, ``code``, ``examples``, ``loss`` or ``privacy``.
    """
    facts, private = asked.facts, asked.spec.privacy
    if sha256_digest(data) != entry.report:
        raise CheckFailed("report", "its digest is not the one signed")
    try:
        report = parse_report(data)
    except ProtocolError as error:
        raise CheckFailed("report", str(error)) from error
    stated = (report.study, report.round, report.site)
    if stated != (hex_of(facts.study), asked.round, entry.site.lower()):
        raise CheckFailed("report", "it speaks of another study, round or site")
    if report.code != hex_of(facts.params.code):
        raise CheckFailed("code", f"the site ran {report.code}")
    if report.examples < entry.weight:
        raise CheckFailed("examples", f"{report.examples} for a weight of {entry.weight}")
    if private is not None and report.metrics:
        raise CheckFailed("loss", "it has no noise, and the study has privacy")
    flaw = _privacy_flaw(private, report.privacy, asked.history.privacy.get(entry.site))
    if flaw is not None:
        raise CheckFailed("privacy", flaw)
    return report


def check_copies(asked: Asked, update: IntVector, root: Root, this_round: Collection[Root]) -> None:
    """Check that an update came from no other site of this round, and in no earlier one.

    Two sites may both have nothing to change, or count the same; any other equal was copied.

    Args:
        asked: the round.
        update: int32, of a sum int64, shape (P,).
        root: the update's.
        this_round: of the round's other updates.
    Raises:
        CheckFailed: ``copied_update``.
    """
    source = asked.history.updates.get(root)
    if root in this_round:
        source = "another site of this round sent the same"
    # The numbers last: reading all of them takes longest.
    if source is None or asked.facts.params.rule is RuleId.SUM or not np.any(update):
        return
    raise CheckFailed("copied_update", source)


def _privacy_flaw(
    private: PrivacySpec | None, stated: Privacy | None, before: Privacy | None
) -> str | None:
    if private is None:
        return None if stated is None else "the study asks for none"
    if stated is None:
        return "the study asks for it, and the report states none"
    if stated.delta != private.delta:
        return f"delta {stated.delta:g} where the study has {private.delta:g}"
    # Numbers of rows are public, so limits hold for a table in which one row is another.
    spent, target = stated.epsilon_replaced, private.target_epsilon
    if target is not None and spent > target:
        return f"epsilon {spent:g} is beyond the study's target of {target:g}"
    if stated.epsilon > spent:
        return f"epsilon {stated.epsilon:g} beside {spent:g} for replaced rows, the greater figure"
    for now, then in () if before is None else _both(stated, before):
        if now < then:
            return f"epsilon {now:g} after {then:g}: what is spent stays spent"
    return None


def _both(stated: Privacy, before: Privacy) -> Iterator[tuple[float, float]]:
    yield stated.epsilon, before.epsilon
    yield stated.epsilon_replaced, before.epsilon_replaced
