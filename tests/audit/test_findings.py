"""What an audit prints for people and what it prints for programs are one."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.calling import Call
from tests.integration.networks import finished_run
from wardround.audit import progress
from wardround.audit.auditing import Depth, audit_study
from wardround.audit.findings import Findings
from wardround.audit.finished import open_run
from wardround.audit.progress import with_progress
from wardround.protocol.record import RuleId

ROOT = Path(__file__).resolve().parents[2]
#: Kinds of a page's table, with their values.
_ROW = re.compile(r"^\| `(\w+)` \| (.*) \|$", re.MULTILINE)
SOURCES = ("wardround/audit/auditing.py", "wardround/audit/result_commands.py")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def documented() -> dict[str, str]:
    page = (ROOT / "docs" / "auditing.md").read_text("utf-8")
    return dict(_ROW.findall(page.partition("<!-- findings -->")[2].partition("\n\n")[0]))


def require_documented(found: dict[str, Any]) -> None:
    row = documented()[found["kind"]]
    for value in found.keys() - {"kind", "words"}:
        assert f"`{value}`" in row, (found["kind"], value)


def require_same(found: list[dict[str, Any]], printed: str) -> None:
    """Everything that is printed is in the words, in order, and every figure in the values."""
    words = [line for one in found for line in one["words"]]
    assert words == printed.splitlines()
    for one in found:
        values = {key: value for key, value in one.items() if key != "words"}
        text = json.dumps(values)
        # Tokens are shown as the sum of what was earned, and open rounds of all of them.
        for line in one["words"]:
            line = re.sub(r", [0-9.]+ tokens earned", "", line)
            for figure in re.findall(r"0x[0-9a-f]{16,}|\b[0-9]+\b", line):
                if one["kind"] == "specification" and figure == str(one["closed"] + one["open"]):
                    continue
                assert figure in text, (one["kind"], figure)


@pytest.mark.parametrize("options", [(), ("--jobs", 2)])
def test_run_for_programs_is_what_is_printed(
    call: Call, finished: Path, options: tuple[object, ...]
) -> None:
    found = objects(call("audit", finished, "--json", *options).good)
    require_same(found, call("audit", finished, *options).good)
    for one in found:
        require_documented(one)
    kinds = [one["kind"] for one in found]
    assert kinds[:9] == ["journal", "study", "specification", *["premise"] * 3, *["round"] * 3]
    assert kinds[-1] == "verdict"
    assert {"store", "run_folder", "not_checked"} < set(kinds)


def test_rounds_for_programs_have_every_share(call: Call, finished: Path) -> None:
    found = objects(call("audit", finished, "--json").good)
    reported = objects((finished / "rounds.jsonl").read_text("utf-8"))
    with open_run(finished) as run:
        sites = {name: address.lower() for name, address in run.file.sites.items()}
    rounds = [one for one in found if one["kind"] == "round"]
    for one, row in zip(rounds, reported, strict=True):
        assert one["model"] == row["model"]
        assert one["earned"] == {sites[name]: paid for name, paid in row["rewards"].items()}


def test_unfinished_study_is_open_for_people_and_programs(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(finished) as run:
        monkeypatch.setattr(run.contract, "rounds_of", lambda study: 4)
        audit_study(run.contract, run.study, run.store, Findings(as_json=True), Depth())
        found = objects(capsys.readouterr().out)
        audit_study(run.contract, run.study, run.store, Findings(as_json=False), Depth())
        printed = capsys.readouterr().out
    require_same(found, printed)
    assert "3 of 4 rounds closed, open" in printed
    (spec,) = (one for one in found if one["kind"] == "specification")
    assert (spec["closed"], spec["open"]) == (3, 1)


def test_later_rounds_alone_name_those_that_are_taken_as_recorded(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_run(finished) as run:
        audit_study(run.contract, run.study, run.store, Findings(as_json=True), Depth(), 3)
    found = objects(capsys.readouterr().out)
    (taken,) = (one for one in found if one["kind"] == "taken")
    assert (taken["first"], taken["last"]) == (1, 2)
    assert [one["round"] for one in found if one["kind"] == "round"] == [3]
    for one in found:
        require_documented(one)


def test_ranks_that_cannot_be_proven_are_a_warning(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 257 sites and more; here the number is made up, and the rounds are not looked at."""
    from wardround.audit import auditing
    from wardround.audit.audit import StudyAudit

    with open_run(finished) as run:
        work = StudyAudit(run.contract, run.study, run.store)
        params = replace(work.facts.params, rule=RuleId.MULTI_KRUM)
        work.facts = replace(work.facts, params=params)
        monkeypatch.setattr(auditing, "unproven_words", lambda rule, sites: f"{sites} sites")
        auditing._begin(work, run.contract, Findings(as_json=True), Depth(), 1)
    found = objects(capsys.readouterr().out)
    (warning,) = (one for one in found if one["kind"] == "warning")
    assert warning["words"] == ["warning: 3 sites"]
    assert warning["sites"] == 3


def test_every_kind_is_in_the_page_and_no_other() -> None:
    sources = "".join((ROOT / name).read_text("utf-8") for name in SOURCES)
    shown = set(re.findall(r"findings\.show\(\s*\"(\w+)\"", sources))
    assert shown == set(documented())
    # Nothing of an audit gets to a screen past the findings.
    auditing = (ROOT / SOURCES[0]).read_text("utf-8")
    assert "print(" not in auditing
    assert "Screen" not in auditing


def test_finding_for_people_shows_what_is_hidden_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    findings = Findings(as_json=False)
    findings.show("store", "a [bold]name\x1b[2J", "  and :cat: more", objects=1)
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["a [bold]name\\x1b[2J", "  and :cat: more"]
    assert findings.documents[0]["words"][0] == "a [bold]name\x1b[2J"


# ---------------------------------------------------------------------------- progress


def slow(count: int, clock: list[float], seconds: float) -> Iterator[int]:
    for number in range(count):
        clock[0] += seconds
        yield number


def test_progress_of_a_long_audit_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    assert list(with_progress(slow(9, clock, 4.0), 9, shown=True)) == list(range(9))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["round 3 of 9", "round 6 of 9", "round 9 of 9"]


def test_progress_of_a_short_audit_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress(iter(range(9)), 9, shown=True)) == list(range(9))
    assert capsys.readouterr() == ("", "")


def test_progress_for_programs_is_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    list(with_progress(slow(9, clock, 60.0), 9, shown=False))
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_is_a_bar_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert list(with_progress(slow(3, clock, 2.0), 3, shown=True)) == [0, 1, 2]
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/3" in err
    assert "rounds" in err


def test_progress_stays_off_the_findings(call: Call, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    ended = call("audit", "run", "--json")
    assert ended.err == ""
    assert all(line.startswith("{") for line in ended.good.splitlines())
