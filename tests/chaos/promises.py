"""What must hold after everything that was done to a study; each broken promise in one sentence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eth_account.signers.local import LocalAccount

from wardround.audit.audit import StudyAudit
from wardround.audit.claims import claim_for, claimable
from wardround.chain.events import Overturned, RoundClosed, Slashed
from wardround.chain.ward_round import WardRound
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import SiteAddress, StudyId, hex_of
from wardround.store import open_store
from wardround_client.guard.log import read_log


@dataclass(frozen=True)
class Expected:
    """What an undisturbed run of the same study gives.

    Attributes:
        roots: of every model, from round 1 on.
        earned: by the site's name.
    """

    roots: tuple[str, ...]
    earned: dict[str, int]


@dataclass(frozen=True)
class Subject:
    """A study that is over.

    Attributes:
        contract: where it is.
        study: which.
        sites: addresses by name.
        payer: sends the claims.
        homes: of the sites' guards.
        store: address of the content store.
    """

    contract: WardRound
    study: StudyId
    sites: Mapping[str, SiteAddress]
    payer: LocalAccount
    homes: Sequence[Path]
    store: str


@dataclass
class Verdict:
    """What was counted, and every promise that was broken."""

    rounds: int = 0
    roots_equal: int = 0
    signatures: int = 0
    double_signatures: int = 0
    double_closes: int = 0
    lost_rewards: int = 0
    paid: int = 0
    audited: int = 0
    broken: list[str] = field(default_factory=list)


def judge(subject: Subject, expected: Expected) -> Verdict:
    """Look at chain, store and the guards' logs after the study is over.

    The chain's clock is moved past the challenge window, and every site is paid.

    Args:
        subject: the study.
        expected: of the undisturbed run.
    """
    verdict = Verdict()
    _rounds(subject, expected, verdict)
    for home in subject.homes:
        _signatures(home, verdict)
    _audit(subject, verdict)
    _rewards(subject, expected, verdict)
    return verdict


def _rounds(subject: Subject, expected: Expected, verdict: Verdict) -> None:
    events = subject.contract.events(subject.study)
    closed = Counter(event.round for event in events if isinstance(event, RoundClosed))
    for event in events:
        if isinstance(event, (Overturned, Slashed)):
            verdict.broken.append(f"an honest coordinator was accused: {type(event).__name__}")
    verdict.double_closes = sum(count - 1 for count in closed.values())
    if verdict.double_closes:
        verdict.broken.append(f"closed twice: {[n for n, count in closed.items() if count > 1]}")
    closings = subject.contract.closings(subject.study)
    verdict.rounds = len(closings)
    roots = [hex_of(closing.record.model) for _, closing in closings]
    equal = [one == other for one, other in zip(roots, expected.roots, strict=False)]
    verdict.roots_equal = sum(equal)
    if len(roots) != len(expected.roots):
        verdict.broken.append(f"{len(roots)} rounds where {len(expected.roots)} belong")
    if not all(equal):
        verdict.broken.append(f"round {equal.index(False) + 1} has another model")


def _signatures(home: Path, verdict: Verdict) -> None:
    signed: dict[int, set[tuple[str, str, str]]] = defaultdict(set)
    for line in read_log(home / "guard.log"):
        if line["kind"] == "signed":
            verdict.signatures += 1
            signed[line["round"]].add((line["base"], line["update"], line["report_sha256"]))
    double = [number for number, ones in signed.items() if len(ones) > 1]
    verdict.double_signatures += len(double)
    if double:
        verdict.broken.append(f"{home.name} signed different contributions for rounds {double}")


def _audit(subject: Subject, verdict: Verdict) -> None:
    try:
        audit = StudyAudit(subject.contract, subject.study, open_store(subject.store))
        verdict.audited = sum(1 for _ in audit.rounds())
    except WardroundError as error:
        verdict.broken.append(f"the audit fails: {error}")


def _rewards(subject: Subject, expected: Expected, verdict: Verdict) -> None:
    contract, study = subject.contract, subject.study
    contract.chain.advance(contract.study(study).challenge_seconds + 1)
    found = claimable(contract, study, open_store(subject.store))
    for name, site in subject.sites.items():
        for _ in claim_for(contract, subject.payer, study, found, site):
            pass  # what is paid is read from the chain
        paid = contract.claimed(study, site)
        verdict.paid += paid
        due = expected.earned.get(name, 0)
        if paid != due:
            verdict.lost_rewards += 1
            verdict.broken.append(f"{name} was paid {paid} where {due} is due")
