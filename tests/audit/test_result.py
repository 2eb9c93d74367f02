"""An audit's result: signed, checked, published, and relied on for later rounds."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from tests.calling import Call
from tests.chain.staged import Theatre, theatre
from tests.integration.networks import copied, finished_run
from wardround.audit.auditing import Depth, audit_study
from wardround.audit.earlier import ATTESTED, Earlier, earlier_rounds
from wardround.audit.errors import ResultNotTrusted
from wardround.audit.findings import Findings
from wardround.audit.finished import open_run
from wardround.audit.result import (
    RESULT_TYPE,
    AuditResult,
    SignedResult,
    check_closings,
    read_result,
    sign_result,
)
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import write_new_key
from wardround.protocol.attestation import Attestation
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.cid import cid_from_sha256, cid_of
from wardround.protocol.errors import (
    Malformed,
    ProtocolError,
    ReplayFailed,
    SignatureInvalid,
    SpecificationError,
    StudyMismatch,
)
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import Recording
from wardround.store import FolderStore
from wardround.store.errors import ObjectMissing
from wardround_simulations.cheats import Cheater, shift_a_coordinate
from wardround_simulations.stage import OBJECTION_SECONDS, Stage

ROOT = Path(__file__).resolve().parents[2]
AUDITOR = Account.from_key(b"\x01" * 32)
RESULT = AuditResult(
    protocol="wardround/2",
    format="wardround-audit/1",
    software="wardround 1.2.3",
    chain_id=31337,
    contract="0x" + "ab" * 20,
    study="0x" + "01" * 32,
    closings=["0x" + "02" * 32, "0x" + "03" * 32],
    findings=[{"kind": "verdict", "holds": True, "words": ["All holds."]}],
)


def signed(result: AuditResult = RESULT, auditor: Any = AUDITOR) -> SignedResult:
    signature = auditor.unsafe_sign_hash(
        result.statement.signing_digest(result.domain)
    ).signature.hex()
    text = "0x" + signature.removeprefix("0x")
    return SignedResult(result=result, auditor=auditor.address.lower(), signature=text)


# ---------------------------------------------------------------------------- what is signed


def test_result_is_what_eth_account_signs() -> None:
    message = encode_typed_data(
        {
            "name": "wardround",
            "version": "2",
            "chainId": 31337,
            "verifyingContract": "0x" + "ab" * 20,
        },
        {
            "AuditResult": [
                {"name": "study", "type": "bytes32"},
                {"name": "round", "type": "uint32"},
                {"name": "record", "type": "bytes32"},
                {"name": "result", "type": "bytes32"},
            ]
        },
        {
            "study": b"\x01" * 32,
            "round": 2,
            "record": b"\x03" * 32,
            "result": RESULT.digest,
        },
    )
    assert bytes.fromhex(signed().signature[2:]) == AUDITOR.sign_message(message).signature


def test_page_has_the_type_every_field_and_a_vector_that_holds(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "protocol.md").read_text("utf-8").partition("## 14.")[2]
    assert f"\n{RESULT_TYPE}\n" in page
    for name in (*AuditResult.model_fields, *SignedResult.model_fields):
        assert f"`{name}`" in page, name
    vector = page.partition("<!-- audit result -->\n```json\n")[2].partition("\n```")[0]
    (tmp_path / "vector.json").write_text(vector, "utf-8")
    found = read_result(tmp_path / "vector.json")
    assert found == signed()
    assert f"`{hex_of(found.result.digest)}`" in page
    statement = found.result.statement
    assert f"`{hex_of(statement.signing_digest(found.result.domain))}`" in page


# ---------------------------------------------------------------------------- what is refused


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(signed().encode())
    change(value)
    return canonical_bytes(value)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (changed(lambda it: it["result"].update(chain_id=1)), SignatureInvalid),
        (changed(lambda it: it["result"].update(contract="0x" + "cd" * 20)), SignatureInvalid),
        (changed(lambda it: it["result"].update(study="0x" + "05" * 32)), SignatureInvalid),
        (changed(lambda it: it["result"].update(software="another")), SignatureInvalid),
        (changed(lambda it: it["result"]["closings"].reverse()), SignatureInvalid),
        (changed(lambda it: it["result"]["closings"].pop()), SignatureInvalid),
        (changed(lambda it: it["result"]["closings"].clear()), Malformed),
        (changed(lambda it: it["result"]["findings"][0].update(words=[])), SignatureInvalid),
        (changed(lambda it: it["result"].update(more=1)), Malformed),
        (changed(lambda it: it["result"].pop("software")), Malformed),
        (changed(lambda it: it["result"].update(format="wardround-audit/2")), Malformed),
        (changed(lambda it: it["result"].update(protocol="wardround/1")), ProtocolError),
        (changed(lambda it: it.update(auditor="0x" + "12" * 20)), SignatureInvalid),
        (changed(lambda it: it.update(signature=it["signature"][:-2] + "00")), SignatureInvalid),
        (changed(lambda it: it.pop("signature")), Malformed),
        (b" " + signed().encode(), Malformed),
        (signed().encode() + b"\n", Malformed),
        (b"", Malformed),
        (b"\xff", Malformed),
        (b"[" * 100_000, Malformed),
        (
            signed(RESULT.model_copy(update={"findings": [{"kind": "round"}]})).encode(),
            Malformed,
        ),
        (
            signed(
                RESULT.model_copy(update={"findings": [{"kind": "verdict", "holds": False}]})
            ).encode(),
            Malformed,
        ),
    ],
)
def test_result_that_is_not_as_signed_is_refused(
    tmp_path: Path, data: bytes, error: type[Exception]
) -> None:
    (tmp_path / "result.json").write_bytes(data)
    with pytest.raises(error):
        read_result(tmp_path / "result.json")


# ---------------------------------------------------------------------------- a study


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("scene")) as staged:
        yield staged


def audited(stage: Stage, depth: Depth | None = None) -> tuple[SignedResult, Findings]:
    """Audit, and have the parties' auditor sign."""
    findings = Findings(as_json=True)
    depth = depth or Depth()
    work = audit_study(stage.contract, stage.study, stage.store, findings, depth)
    closed = [*work.earlier, *work.closed]
    return sign_result(work.facts, closed, findings.documents, stage.parties.auditor), findings


def taken(stage: Stage, file: Path, *trusted: str) -> Depth:
    return Depth(earlier=earlier_rounds(str(file), trusted, stage.contract, stage.study))


def rounds_of(findings: Findings) -> list[int]:
    return [one["round"] for one in findings.documents if one["kind"] == "round"]


@pytest.fixture
def two(scene: Theatre, tmp_path: Path) -> tuple[Stage, Path]:
    """A study of three rounds, two of them closed, and its auditor's result on these."""
    stage = scene.stage(Recording.ROOT, quorum=1)
    for _ in range(2):
        stage.close(scene.parties.first)
    (tmp_path / "result.json").write_bytes(audited(stage)[0].encode())
    return stage, tmp_path / "result.json"


def test_later_rounds_alone_are_recomputed_after_an_auditors_result(
    two: tuple[Stage, Path], tmp_path: Path
) -> None:
    stage, file = two
    stage.close(stage.parties.first)
    result, findings = audited(stage, taken(stage, file))
    assert rounds_of(findings) == [3]
    (words,) = (one for one in findings.documents if one["kind"] == "taken")
    auditor = stage.parties.auditor.address.lower()
    assert words["words"][0] == f"rounds 1 to 2: taken from the result signed by {auditor}"
    assert (words["first"], words["last"], words["by"]) == (1, 2, "result")
    assert words["result"] == hex_of(read_result(file).result.digest)
    # The next result is about all three, and tells whose word it rests on.
    (tmp_path / "next.json").write_bytes(result.encode())
    assert len(read_result(tmp_path / "next.json").result.closings) == 3
    assert rounds_of(audited(stage, taken(stage, tmp_path / "next.json"))[1]) == []


def test_round_that_does_not_hold_is_found_after_a_result(two: tuple[Stage, Path]) -> None:
    stage, file = two
    shift_a_coordinate(Cheater(stage, stage.parties.first))
    with pytest.raises(ReplayFailed, match="round 3"):
        audited(stage, taken(stage, file))


def test_copies_of_updates_before_a_result_are_known(two: tuple[Stage, Path]) -> None:
    from wardround.audit.audit import StudyAudit

    stage, _ = two
    work = StudyAudit(stage.contract, stage.study, stage.store, 3)
    assert len(work.recorded_before().updates) == 2 * len(stage.sites)


def test_manifest_before_a_result_must_be_there(two: tuple[Stage, Path], tmp_path: Path) -> None:
    stage, file = two
    shutil.copytree(stage.store.folder, tmp_path / "store")
    record = stage.contract.closed(stage.study, 1).closing.record
    (tmp_path / "store" / cid_from_sha256(record.manifest)).unlink()
    with pytest.raises(ObjectMissing):
        audit_study(
            stage.contract,
            stage.study,
            FolderStore(tmp_path / "store"),
            Findings(as_json=True),
            taken(stage, file),
        )


def test_result_of_a_stranger_is_relied_on_when_named_alone(
    two: tuple[Stage, Path], tmp_path: Path
) -> None:
    stage, file = two
    stranger = Account.create()
    (tmp_path / "other.json").write_bytes(signed(read_result(file).result, stranger).encode())
    with pytest.raises(ResultNotTrusted) as refused:
        taken(stage, tmp_path / "other.json", "0x" + "12" * 20)
    assert refused.value.auditor == stranger.address.lower()
    depth = taken(stage, tmp_path / "other.json", stranger.address.lower())
    assert rounds_of(audited(stage, depth)[1]) == []


@pytest.mark.parametrize("what", ["chain", "contract", "study", "closing of round 2", "open"])
def test_result_on_something_else_than_the_chain_has_is_refused(
    two: tuple[Stage, Path], what: str
) -> None:
    stage, file = two
    result, facts = read_result(file).result, stage.facts
    closed = stage.contract.closed_rounds(stage.study)
    check_closings(file, result, facts, closed)
    other = {
        "chain": {"chain_id": 5},
        "contract": {"contract": "0x" + "12" * 20},
        "study": {"study": "0x" + "12" * 32},
    }.get(what, {})
    if what.startswith("closing"):
        # As after a challenge: the round was closed again, at another time.
        again = replace(closed[1].closing, closed_at=closed[1].closing.closed_at + 1)
        closed[1] = replace(closed[1], closing=again)
    if what == "open":
        del closed[1]
    with pytest.raises(StudyMismatch) as refused:
        check_closings(file, result.model_copy(update=other), facts, closed)
    assert (what if what != "open" else "none: it is open") in str(refused.value)


def test_rounds_that_are_attested_on_chain_are_not_recomputed(two: tuple[Stage, Path]) -> None:
    stage, _ = two
    ward, auditor = stage.contract, stage.parties.auditor
    with pytest.raises(SpecificationError, match="no round is attested"):
        earlier_rounds(ATTESTED, (), ward, stage.study)
    stage.chain.advance(OBJECTION_SECONDS)
    number, closing = ward.closings(stage.study)[-1]
    statement = Attestation(stage.study, number, closing.commitment)
    signature = statement.sign(ward.domain, bytes(auditor.key))
    ward.attest(auditor, stage.study, number, closing, {auditor.address: signature})
    stage.close(stage.parties.first)
    earlier = earlier_rounds(ATTESTED, (), ward, stage.study)
    assert (earlier.last, earlier.by) == (2, "attestation")
    assert "1 of the study's auditors attested" in earlier.words
    assert rounds_of(audited(stage, Depth(earlier=earlier))[1]) == [3]


def test_study_without_a_closed_round_has_nothing_to_sign(scene: Theatre) -> None:
    with pytest.raises(SpecificationError, match="nothing to sign"):
        audited(scene.stage(Recording.ROOT))


# ---------------------------------------------------------------------------- the commands


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A finished run of three rounds, and in the current folder the key of who audits it."""
    write_new_key(tmp_path / "auditor.key")
    return copied(finished_run(tmp_path_factory.getbasetemp()), tmp_path / "run")


SIGN = ("--sign", "--key", "auditor.key")


def test_result_is_written_published_checked_and_relied_on(
    call: Call, folder: Path, tmp_path: Path
) -> None:
    before = call("audit", folder).good
    printed = call("audit", folder, *SIGN, "--output", "result.json", "--publish").good
    assert printed.startswith(before)
    (last,) = printed[len(before) :].splitlines()
    data = (tmp_path / "result.json").read_bytes()
    cid = cid_of(data)
    assert last.endswith(f": result.json, in the store as {cid}")
    assert FolderStore(folder / "store").get(cid) == data
    auditor = json.loads(data)["auditor"]

    alone = call("verify-result", "result.json").good
    assert alone.splitlines()[0].startswith(f"result.json: signed by {auditor} with wardround ")
    assert [f"  {line}" for line in before.splitlines()] == alone.splitlines()[3:-1]
    assert "Not compared with a chain" in alone
    compared = call("verify-result", "result.json", folder).good
    assert "The closings are the chain's" in compared
    assert "is no auditor of the study" in compared
    (found,) = map(
        json.loads, call("verify-result", "result.json", folder, "--json").good.splitlines()
    )
    assert (found["auditor"], found["is_auditor"], found["cid"]) == (auditor, False, cid)
    assert found["findings"][-1]["kind"] == "verdict"

    assert "[result-not-trusted]" in call("audit", folder, "--from", "result.json").error
    later = call("audit", folder, "--from", "result.json", "--trust", auditor).good
    assert f"rounds 1 to 3: taken from the result signed by {auditor}" in later
    assert "signatures and updates verified" not in later
    # The files of the folder are compared with the rounds as they are recorded.
    assert "rounds.jsonl" in later
    assert later.splitlines()[-1] == "All holds."


def test_result_for_programs_names_where_it_is(call: Call, folder: Path) -> None:
    found = [
        json.loads(line)
        for line in call("audit", folder, *SIGN, "--publish", "--json").good.splitlines()
    ]
    assert [one["kind"] for one in found[-2:]] == ["verdict", "result"]
    assert found[-1]["file"] is None
    signed = SignedResult.model_validate_json(FolderStore(folder / "store").get(found[-1]["cid"]))
    # What was printed before it is what was signed.
    assert signed.result.findings == found[:-1]
    assert found[-1]["result"] == hex_of(signed.result.digest)


def test_audit_that_fails_signs_nothing(call: Call, folder: Path, tmp_path: Path) -> None:
    rounds = folder / "rounds.jsonl"
    rounds.write_text(rounds.read_text("utf-8").replace('"gas": ', '"gas": 1'), "utf-8")
    assert "[file-mismatch]" in call("audit", folder, *SIGN, "--output", "result.json").error
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sign",), "--sign needs --key"),
        (SIGN, "--output FILE or --publish"),
        (("--key", "auditor.key"), "--key goes with --watch or --sign"),
        (("--output", "result.json"), "go with --sign"),
        (("--publish",), "go with --sign"),
        ((*SIGN, "--output", "nowhere/result.json"), "there is no such folder"),
        ((*SIGN, "--publish", "--watch"), "--sign does not go with --watch"),
        (("--from", "attested", "--watch"), "--from does not go with --watch"),
        (("--trust", "0x" + "12" * 20), "--trust goes with --from FILE"),
        (("--from", "attested", "--trust", "0x" + "12" * 20), "--trust goes with --from FILE"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    call: Call, folder: Path, options: tuple[str, ...], words: str
) -> None:
    ended = call("audit", folder, *options)
    assert ended.status == 2
    assert words in re.sub(r"[\s│]+", " ", ended.err)
    assert ended.out == ""


def test_archive_is_neither_signed_nor_taken_up(call: Call, tmp_path: Path) -> None:
    write_new_key(tmp_path / "auditor.key")
    (tmp_path / "evidence.zip").write_bytes(b"")
    for options in ((*SIGN, "--publish"), ("--from", "attested")):
        ended = call("audit", "evidence.zip", *options)
        assert (ended.status, "does not go with an archive" in ended.err) == (2, True)


def test_earlier_rounds_are_named_for_programs() -> None:
    earlier = Earlier(4, "words", "attestation")
    assert earlier.values == {"first": 1, "last": 4, "by": "attestation"}


def test_result_file_that_is_missing_is_named(call: Call, folder: Path) -> None:
    assert "there is no such file" in call("audit", folder, "--from", "none.json").error
    assert "there is no such file" in call("verify-result", "none.json").error
    assert call("audit", folder, "--from", "none.json", "--trust", "0x12").error


def test_auditor_of_the_study_is_recognised(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WardRound, "is_auditor", lambda *_: True)
    with open_run(folder) as run:
        work = audit_study(
            run.contract, run.study, run.store, found := Findings(as_json=True), Depth()
        )
        result = sign_result(work.facts, work.closed, found.documents, AUDITOR)
        file = folder.parent / "result.json"
        file.write_bytes(result.encode())
        earlier = earlier_rounds(str(file), (), run.contract, run.study)
    assert earlier.last == 3
