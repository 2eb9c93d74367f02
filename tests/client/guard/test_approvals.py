from __future__ import annotations

from pathlib import Path

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.networks import small_scenario
from wardround.protocol.canonical import canonical_bytes, parse_canonical
from wardround.protocol.identifiers import Root, StudyId
from wardround.protocol.record import StudyParties
from wardround_client.errors import Refusal
from wardround_client.guard.approvals import APPROVAL_MAX_BYTES, Approval, Approvals

ACCOUNT = Account.from_key(b"\x11" * 32)
OTHER = Account.from_key(b"\x12" * 32)
CONTRACT = "0x" + "ab" * 20


def approval(**study: object) -> Approval:
    spec = small_scenario(study=study).specification
    parties = StudyParties.of([OTHER.address, ACCOUNT.address], [OTHER.address])
    params = spec.params(
        sponsor=ACCOUNT.address,
        token=OTHER.address,
        parameter_count=7,
        initial_model=Root(b"\x01" * 32),
        code=b"\x02" * 32,  # type: ignore[arg-type]
        parties=parties.digest,
    )
    return Approval(31337, CONTRACT, params, parties, spec, 1000, 40, 10)


def given_in(folder: Path, key: bytes = bytes(ACCOUNT.key)) -> tuple[Approvals, Approval, Path]:
    folder.mkdir(exist_ok=True)
    approvals = Approvals(folder, ACCOUNT.address)
    one = approval()
    return approvals, one, approvals.give(one, key)


def test_approval_when_given_is_read_again(tmp_path: Path) -> None:
    _, one, path = given_in(tmp_path / "a")
    fresh = Approvals(tmp_path / "a", ACCOUNT.address)
    assert fresh.of(one.study) == one
    assert fresh.studies() == [one.study]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_approval_when_not_given_is_none(tmp_path: Path) -> None:
    approvals, _, _ = given_in(tmp_path / "a")
    with pytest.raises(Refusal, match="study-not-approved"):
        approvals.of(approval(name="another").study)
    with pytest.raises(Refusal, match="study-not-approved"):
        approvals.revoke(approval(name="another").study, 5)


def test_approval_when_revoked_counts_no_more(tmp_path: Path) -> None:
    approvals, one, path = given_in(tmp_path / "a")
    assert approvals.of(one.study)
    kept = approvals.revoke(one.study, 7)
    with pytest.raises(Refusal, match="study-not-approved"):
        approvals.of(one.study)
    assert kept.exists()
    assert not path.exists()
    assert approvals.studies() == []


def test_approval_when_revoked_and_renamed_back_does_not_count(tmp_path: Path) -> None:
    """Any program of the site's user can rename a file."""
    approvals, one, path = given_in(tmp_path / "a")
    statement = parse_canonical(path.read_bytes(), "approval")["statement"]
    kept = approvals.revoke(one.study, 7)
    assert parse_canonical(kept.read_bytes(), "approval")["statement"] == statement
    kept.rename(path)
    for reader in (approvals, Approvals(path.parent, ACCOUNT.address)):
        with pytest.raises(Refusal, match="approval-damaged"):
            reader.of(one.study)


def test_approval_when_damaged_is_revoked_without_its_signature(tmp_path: Path) -> None:
    approvals, one, path = given_in(tmp_path / "a")
    good = path.read_bytes()
    path.write_bytes(good + b" ")
    kept = approvals.revoke(one.study, 7)
    path.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(Refusal, match="approval-damaged"):
        approvals.of(one.study)


def test_approval_when_another_key_signed_it_does_not_count(tmp_path: Path) -> None:
    """The process that trains may write files, but has no key."""
    approvals, one, _ = given_in(tmp_path / "a", bytes(OTHER.key))
    with pytest.raises(Refusal, match="approval-damaged"):
        approvals.of(one.study)


def test_approval_when_copied_to_another_study_does_not_count(tmp_path: Path) -> None:
    approvals, _, path = given_in(tmp_path / "a")
    other = StudyId(b"\x77" * 32)
    (path.parent / ("0x" + other.hex() + ".json")).write_bytes(path.read_bytes())
    with pytest.raises(Refusal, match="another study"):
        approvals.of(other)


def test_approval_when_a_field_is_altered_does_not_count(tmp_path: Path) -> None:
    approvals, one, path = given_in(tmp_path / "a")
    good = parse_canonical(path.read_bytes(), "approval")
    for field in good["statement"]:
        changed = {**good["statement"], field: None}
        if field == "at":
            changed["at"] = 1001
        if field == "specification":
            changed["specification"] = {**good["statement"]["specification"], "more": 1}
        path.write_bytes(canonical_bytes({**good, "statement": changed}))
        if changed == good["statement"]:
            continue
        with pytest.raises(Refusal, match="approval-damaged"):
            approvals.of(one.study)


def test_approval_when_mended_counts_again_without_a_restart(tmp_path: Path) -> None:
    approvals, one, path = given_in(tmp_path / "a")
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    with pytest.raises(Refusal, match="approval-damaged"):
        approvals.of(one.study)
    path.write_bytes(good)
    assert approvals.of(one.study) == one


def test_approval_when_too_long_is_not_read(tmp_path: Path) -> None:
    approvals, one, path = given_in(tmp_path / "a")
    path.write_bytes(b" " * (APPROVAL_MAX_BYTES + 1))
    with pytest.raises(Refusal, match="longer"):
        approvals.of(one.study)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2500), st.booleans())
def test_approval_when_bytes_are_changed_anywhere_does_not_count(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, alone: bool
) -> None:
    approvals, one, path = given_in(tmp_path_factory.mktemp("approval"))
    good = path.read_bytes()
    changed = data if alone else good[:at] + data + good[at + len(data) :]
    path.write_bytes(changed)
    if changed == good:
        assert approvals.of(one.study) == one
    else:
        with pytest.raises(Refusal, match="approval-damaged"):
            approvals.of(one.study)
