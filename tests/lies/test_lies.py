"""An audit names each lie, or docs/protocol.md lists its field under what is taken as stated."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.calling import Call, Ended
from tests.lies.catalogue import LIES
from tests.lies.documents import honest
from tests.lies.lie import Dishonest, Lie, Named, Stated
from tests.lies.locks import honest_lock
from tests.lies.played import ROUNDS
from tests.lies.registrations import refused
from tests.lies.schemas import all_fields
from tests.test_house import ROOT
from wardround.audit.audit import StudyAudit
from wardround.audit.auditor import Auditor
from wardround.chain.ward_round import WardRound
from wardround.protocol.errors import ReplayFailed, WardroundError
from wardround.protocol.identifiers import hex_of
from wardround.store import FolderStore

KINDS = sorted({lie.field.partition(".")[0] for lie in LIES})


def audited(study: Dishonest) -> list[int]:
    """Do what `wardround audit` does."""
    ward = WardRound.opened(study.chain, study.address)
    work = StudyAudit(ward, study.study, study.store)
    rounds = [one.closed.round for one in work.rounds()]
    work.check_objects()
    breach = Auditor(ward, study.study, study.store).lock_breach()
    if breach is not None:
        raise ReplayFailed(breach.round, "locked cohort", breach.what)
    return rounds


def judged(lie: Lie) -> str | None:
    """What an audit makes of a lie where that is not what it must; None where it is."""
    with lie.study() as study:
        try:
            audited(study)
        except WardroundError as error:
            found, sentence = error.code, str(error)
        else:
            found, sentence = "", "all holds"
    if isinstance(lie.expected, Named):
        if lie.expected.code == found and lie.expected.words in sentence:
            return None
    elif not found:
        return None
    return f"{lie.name}: expected {lie.expected}, and it is: {sentence} [{found}]"


def test_study_without_a_lie_holds() -> None:
    assert audited(honest()) == list(range(1, ROUNDS + 1))


def test_registration_that_the_court_refused_may_be_left_out() -> None:
    assert audited(refused()) == list(range(1, ROUNDS + 1))


def test_lock_without_a_lie_is_no_breach() -> None:
    assert audited(honest_lock()) == [1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(300)
def test_audit_names_each_lie_or_takes_it_as_stated(kind: str) -> None:
    wrong = [judged(lie) for lie in LIES if lie.field.partition(".")[0] == kind]
    assert list(filter(None, wrong)) == []


def test_every_field_of_every_schema_has_a_lie() -> None:
    assert {lie.field for lie in LIES} == all_fields()


def test_lies_are_many_and_each_is_another() -> None:
    names = [lie.name for lie in LIES]
    assert len(names) == len(set(names)) >= 200


def stated_fields() -> set[str]:
    """The first column of the table in docs/protocol.md."""
    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    table = text.partition("### Taken as stated")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return {field for row in rows for field in re.findall(r"`([^`]+)`", row)}


def test_fields_that_are_taken_as_stated_are_those_that_the_docs_list() -> None:
    listed = stated_fields()
    taken = {lie.expected.field for lie in LIES if isinstance(lie.expected, Stated)}
    unlisted = {field for field in taken if not any(fnmatchcase(field, one) for one in listed)}
    assert unlisted == set()
    # A field that is checked now has no place there any more.
    assert {one for one in listed if not any(fnmatchcase(field, one) for field in taken)} == set()


@pytest.fixture
def typed(call: Call, tmp_path: Path) -> Callable[[Dishonest], Ended]:
    """Type `wardround audit` on a study."""

    def run(study: Dishonest) -> Ended:
        store = FolderStore(tmp_path / "store")
        for data in study.store.objects.values():
            store.put(data)
        where = ("--rpc", study.chain.url, "--contract", study.address)
        return call("audit", hex_of(study.study), *where, "--store", tmp_path / "store")

    return run


def test_command_holds_of_the_honest_study_alone(typed: Callable[[Dishonest], Ended]) -> None:
    assert "All holds." in typed(honest()).good
    for field in ("registration", "code.Court", "manifest.base.root", "report.code"):
        lie = next(one for one in LIES if one.field == field and isinstance(one.expected, Named))
        with lie.study() as study:
            ended = typed(study)
        assert isinstance(lie.expected, Named)
        assert lie.expected.words in ended.error
        assert "All holds." not in ended.out
