"""Every file of a run's folder is what chain and store give, or is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.calling import Call
from tests.integration.networks import copied, finished_run, run, small_scenario
from wardround.audit.audit import AuditedRound, StudyAudit
from wardround.audit.errors import FileMismatch
from wardround.audit.finished import FinishedRun, open_run, read_network
from wardround.audit.folders import Folders
from wardround.audit.run_folder import RunFolderAudit
from wardround.protocol.errors import Malformed

Audited = tuple[FinishedRun, StudyAudit, list[AuditedRound]]
FILES = ("events.jsonl", "layout.json", "model.safetensors", "rounds.jsonl", "summary.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small scenario's run: three sites, three rounds."""
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of another run, of the same scenario with another seed."""
    folder = tmp_path_factory.mktemp("other") / "run"
    run(small_scenario(study={"seed": 6}), folder)
    return folder


@pytest.fixture(scope="module")
def audited(finished: Path) -> Iterator[Audited]:
    """The run, opened and recomputed once for all tests."""
    with open_run(finished) as opened:
        work = StudyAudit(opened.contract, opened.study, opened.store)
        yield opened, work, list(work.rounds())


def unchecked(audited: Audited, folder: Path, rounds: int = 3) -> list[str]:
    """Check a folder's files against the rounds; as if no more than so many were closed."""
    opened, work, found = audited
    there = replace(opened, folders=Folders(folder), file=read_network(folder))
    audit = RunFolderAudit(there, work)
    for one in found[:rounds]:
        audit.add(one)
    audit.check()
    return audit.unchecked


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run's files; the store is where it was."""
    to = tmp_path / "run"
    shutil.copytree(finished, to, ignore=shutil.ignore_patterns("store", "sites"))
    return to


def test_folder_when_untouched_holds_and_what_was_not_checked_is_listed(
    audited: Audited, folder: Path
) -> None:
    found = unchecked(audited, folder)
    assert found == [
        "network.json: sites: which name is whose",
        "network.json: chain: where it was; the journal has it",
        "journal.jsonl: timestamp, baseFee, hash, balances: the chain is the run's own",
        "rounds.jsonl: accuracy_interval, measures, pooled_accuracy_interval, wall_seconds: "
        "what sites sent, and times",
        "summary.json: final.accuracy, final.average_accuracy, final.pooled_accuracy, "
        "final.pooled_auc, final.pooled_log_loss, folder, wall_seconds: "
        "what the simulation measured, and times",
        "plots: pictures of the figures of rounds.jsonl",
        "scenario.toml: what the run was started with; the specification in the store is checked",
        "coordinator, passwords, simulation.key, sponsor.key: the parties' own keys, "
        "homes and logs",
    ]


def test_audit_lists_what_it_did_not_check_before_it_ends(call: Call, finished: Path) -> None:
    lines = call("audit", finished).good.splitlines()
    assert lines[-1] == "All holds."
    assert lines[-2].startswith("not checked: ")
    compared = next(line for line in lines if line.startswith("run folder: "))
    assert all(name in compared for name in FILES)


# ---------------------------------------------------------------- changed values


def changed(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    path = folder / name
    value = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(change(value) or value, indent=1), "utf-8")


def changed_line(folder: Path, name: str, line: int, change: Callable[[Any], object]) -> None:
    path = folder / name
    lines = path.read_text("utf-8").splitlines()
    value = json.loads(lines[line - 1])
    change(value)
    lines[line - 1] = json.dumps(value, sort_keys=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def put(*where: Any) -> Callable[[Any], None]:
    """Put the last argument in the place that the others name."""

    def change(value: Any) -> None:
        *path, key, new = where
        for part in path:
            value = value[part]
        value[key] = new

    return change


def without(*where: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        *path, key = where
        for part in path:
            value = value[part]
        del value[key]

    return change


LINES = [
    (put("model", "0x" + "12" * 32), "model of round 2 (line 2) is"),
    (put("gas", 1), "gas of round 2 (line 2) is 1, but chain and store give"),
    (put("gas", 1.0), "gas of round 2 (line 2) is 1.0"),
    (put("round", 2.0), "the round of line 2 is 2.0"),
    (put("round", True), "the round of line 2 is True"),
    (put("round", -1), "the round of line 2 is -1"),
    (put("contributors", 0, "site-9"), "contributors of round 2"),
    (put("contributors", []), "contributors of round 2"),
    (put("contributors", 0, ["site-1"]), "line 2 is without"),
    (put("contributors", 0, 5), "line 2 is without"),
    (lambda value: value["contributors"].reverse(), "contributors of round 2"),
    (put("dropped", [{"site": "site-1", "reason": "no_reply"}]), "dropped of round 2"),
    (put("dropped", None), "line 2 is without"),
    (put("dropped", ["site-1"]), "line 2 is without"),
    (put("rewards", "site-1", "1000"), "rewards of round 2"),
    (put("rewards", "site-1", 333), "rewards of round 2"),
    (put("rewards", "site-9", "1"), "rewards of round 2"),
    (put("rewards", {}), "rewards of round 2"),
    (put("rewards", []), "line 2 is without"),
    *((without(key), "round 2") for key in ("model", "gas")),
    *((without(key), "line 2 is without") for key in ("contributors", "dropped", "rewards")),
    (put("failed", "no reply"), "the report on round 2 is missing"),
    (put("measures", "site-1", "counts", 0, 99), "accuracy of round 2"),
    (put("measures", "site-1", 5), "measures of round 2"),
    (put("measures", [1]), "measures of round 2"),
    (put("measures", {}), "accuracy of round 2"),
    (put("pooled_accuracy", 0.99), "pooled_accuracy of round 2 (line 2) is 0.99, but its counts"),
    (put("pooled_auc", -3), "pooled_auc of round 2"),
    (put("log_loss", "site-9", 0.5), "log_loss of round 2"),
    (put("more", 1), "more of round 2 (line 2) is there, but a run leaves no such field"),
    (without("wall_seconds"), "wall_seconds of round 2 (line 2) is missing"),
    # The summary has it once more.
    (put("wall_seconds", 0), "wall_seconds of rounds[1]"),
]


@pytest.mark.parametrize(("change", "words"), LINES)
def test_line_of_the_rounds_file_when_changed_is_named(
    audited: Audited, folder: Path, change: Callable[[Any], object], words: str
) -> None:
    changed_line(folder, "rounds.jsonl", 2, change)
    with pytest.raises(FileMismatch) as named:
        unchecked(audited, folder)
    assert words in str(named.value)


SUMMARY = [
    (put("study", "0x" + "12" * 32), "study is"),
    (put("scenario", "demo"), 'scenario is "demo", but chain and store give "small"'),
    (put("specification", "0x" + "12" * 32), "specification is"),
    (put("contract", "0x" + "12" * 20), "contract is"),
    (put("chain_id", 1), "chain_id is 1, but chain and store give 31337"),
    (without("chain_id"), "chain_id is null"),
    (put("rounds", 0, "model", "0x" + "12" * 32), "model of rounds[0]"),
    (put("rounds", 0, "accuracy", "site-1", 1.0), "accuracy of rounds[0]"),
    (put("rounds", 0, 5), "accuracy of rounds[0] is missing"),
    (without("rounds", 1, "auc"), "auc of rounds[1] is missing"),
    (without("rounds", 2), "rounds is 2, but chain and store give 3 rounds"),
    (put("rounds", None), "rounds is None"),
    (put("final", "round", 2), "round of final is 2"),
    (put("final", "model", "0x" + "12" * 32), "model of final"),
    (put("final", "earned", {}), "earned of final is {}"),
    (lambda value: value["final"]["earned"].clear(), "earned of final"),
    (without("final"), "round of final is null"),
    (put("final", 1), "the whole is no summary"),
    (lambda value: [value], "the whole is no summary"),
]


@pytest.mark.parametrize(("change", "words"), SUMMARY)
def test_value_of_the_summary_when_changed_is_named(
    audited: Audited, folder: Path, change: Callable[[Any], object], words: str
) -> None:
    changed(folder, "summary.json", change)
    with pytest.raises(FileMismatch) as named:
        unchecked(audited, folder)
    assert f"summary.json: {words}" in str(named.value)


NETWORK = [
    (put("format", "wardround-network/2"), "format is"),
    (put("token", "0x" + "12" * 20), "token is"),
    (put("scenario", "demo"), "scenario is"),
    (put("sites", "site-1", "0x" + "12" * 20), "site 'site-1' is 0x1212"),
]


@pytest.mark.parametrize(("change", "words"), NETWORK)
def test_value_of_the_network_file_when_changed_is_named(
    audited: Audited, folder: Path, change: Callable[[Any], object], words: str
) -> None:
    changed(folder, "network.json", change)
    with pytest.raises(FileMismatch) as named:
        unchecked(audited, folder)
    assert f"network.json: {words}" in str(named.value)


def test_names_of_two_sites_when_swapped_are_noticed(audited: Audited, folder: Path) -> None:
    def swap(value: Any) -> None:
        sites = value["sites"]
        sites["site-1"], sites["site-2"] = sites["site-2"], sites["site-1"]

    changed(folder, "network.json", swap)
    with pytest.raises(FileMismatch, match=r"(rewards|contributors) of round"):
        unchecked(audited, folder)


@pytest.mark.parametrize(
    "change",
    [put(0, "name", "2.weight"), put(0, "shape", [6, 1]), lambda value: value.reverse()],
)
def test_layout_when_changed_is_named(
    audited: Audited, folder: Path, change: Callable[[Any], object]
) -> None:
    changed(folder, "layout.json", change)
    with pytest.raises(FileMismatch, match=r"layout\.json: layout is"):
        unchecked(audited, folder)


EVENT_LINES = [
    (put("block", 1), "line 3"),
    (put("index", 7), "line 3"),
    (put("event", "Funded"), "line 3"),
    (put("transaction", "0x" + "12" * 32), "line 3"),
    (put("more", 1), "line 3"),
    (without("study"), "line 3"),
]


@pytest.mark.parametrize(("change", "words"), EVENT_LINES)
def test_event_when_changed_is_named(
    audited: Audited, folder: Path, change: Callable[[Any], object], words: str
) -> None:
    changed_line(folder, "events.jsonl", 3, change)
    with pytest.raises(FileMismatch, match=rf"events\.jsonl: {words} is "):
        unchecked(audited, folder)


# ---------------------------------------------------------------- changed files


@pytest.mark.parametrize("name", FILES)
def test_file_when_a_bit_is_flipped_is_named(audited: Audited, folder: Path, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        path.write_bytes(flipped)
        flaw = flaw_of(audited, folder)
        if flaw is None:
            # Only the summary has figures that nothing else has: they are listed as not checked.
            assert name == "summary.json" or json.loads(flipped) == json.loads(whole), at
        else:
            # Of what sites measured the rounds file and the summary differ then.
            assert str(path) in flaw or (name, "summary.json" in flaw) == ("rounds.jsonl", True)
    path.write_bytes(whole)
    assert flaw_of(audited, folder) is None


def flaw_of(audited: Audited, folder: Path) -> str | None:
    """What is named in a folder, if anything."""
    try:
        unchecked(audited, folder)
    except (FileMismatch, Malformed) as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", FILES)
def test_file_when_it_is_another_runs_is_named(
    audited: Audited, folder: Path, other: Path, name: str
) -> None:
    if name == "layout.json":
        pytest.skip("both runs have one layout")
    shutil.copyfile(other / name, folder / name)
    with pytest.raises(FileMismatch) as named:
        unchecked(audited, folder)
    assert named.value.path == folder / name


@pytest.mark.parametrize("name", ["events.jsonl", "rounds.jsonl"])
def test_file_when_a_line_is_missing_is_named(audited: Audited, folder: Path, name: str) -> None:
    path = folder / name
    lines = path.read_bytes().splitlines(keepends=True)
    for at in range(len(lines)):
        path.write_bytes(b"".join(lines[:at] + lines[at + 1 :]))
        with pytest.raises(FileMismatch) as named:
            unchecked(audited, folder)
        assert named.value.path == path
    path.write_bytes(b"")
    with pytest.raises(FileMismatch, match="missing"):
        unchecked(audited, folder)


@pytest.mark.parametrize("name", ["events.jsonl", "rounds.jsonl"])
def test_file_when_a_line_is_doubled_or_moved(audited: Audited, folder: Path, name: str) -> None:
    path = folder / name
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[-1]]))
    if name == "events.jsonl":
        with pytest.raises(FileMismatch, match=f"line {len(lines) + 1} is there"):
            unchecked(audited, folder)
    else:
        # A standby may report a round again; the same words are no other.
        unchecked(audited, folder)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    if name == "events.jsonl":
        with pytest.raises(FileMismatch, match="line 1 is"):
            unchecked(audited, folder)
    else:
        unchecked(audited, folder)


def test_model_of_an_earlier_round_is_named(
    call: Call, audited: Audited, folder: Path, finished: Path
) -> None:
    out = folder / "model.safetensors"
    assert call("model", "export", finished, "--round", 2, "--out", out, "--as-recorded").good
    with pytest.raises(FileMismatch, match="metadata 'round' is 2, but chain and store give 3"):
        unchecked(audited, folder)


@pytest.mark.parametrize("name", FILES)
def test_file_when_it_is_not_there_is_listed(audited: Audited, folder: Path, name: str) -> None:
    (folder / name).unlink()
    if name == "rounds.jsonl":
        with pytest.raises(FileMismatch, match="the report on round 1 is missing"):
            unchecked(audited, folder)
    else:
        found = unchecked(audited, folder)
        assert any(words.startswith(f"{name}: not there") for words in found)


def test_file_that_no_run_leaves_is_listed(audited: Audited, folder: Path) -> None:
    (folder / "results.csv").write_text("accuracy,0.99\n")
    assert "results.csv: no file that a run is known to leave" in unchecked(audited, folder)


@pytest.mark.parametrize(
    "line", ['{"round": 2, "round": 2}', "[" * 100_000, "\xff", "5", '"failed"', "null", "[1]"]
)
def test_line_when_it_is_no_report_hides_none(audited: Audited, folder: Path, line: str) -> None:
    path = folder / "rounds.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0], line + "\n", *lines[2:]]), "utf-8")
    with pytest.raises(FileMismatch) as named:
        unchecked(audited, folder)
    assert named.value.path == path


def test_report_that_a_later_one_replaces_is_listed(audited: Audited, folder: Path) -> None:
    """A round that was closed again after a reorganisation; and half a line, of a crash."""
    path = folder / "rounds.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text(
        "".join([lines[0].replace('"gas": ', '"gas": 9'), lines[0][:40] + "\n", *lines])
    )
    found = unchecked(audited, folder)
    assert "rounds.jsonl: line 1, which a later report replaces" in found
    assert "rounds.jsonl: line 2, which is not JSON" in found


def test_report_of_a_standby_counts_where_the_first_has_none(
    audited: Audited, folder: Path
) -> None:
    path = folder / "rounds.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    (folder / "standby-1").mkdir()
    path.write_text("".join(lines[:1]))
    (folder / "standby-1" / "rounds.jsonl").write_text("".join(lines[1:]))
    unchecked(audited, folder)
    (folder / "standby-1" / "rounds.jsonl").write_text(
        lines[1].replace('"gas": ', '"gas": 9') + lines[2]
    )
    with pytest.raises(FileMismatch, match=r"standby-1/rounds\.jsonl: gas of round 2"):
        unchecked(audited, folder)


# ---------------------------------------------------------------- a cut journal


@pytest.mark.parametrize("left", [{"rounds.jsonl"}, {"events.jsonl", "rounds.jsonl"}, set(FILES)])
def test_journal_when_it_lacks_rounds_that_the_files_know_is_noticed(
    call: Call, finished: Path, tmp_path: Path, left: set[str]
) -> None:
    folder = copied(finished, tmp_path / "run")
    for name in set(FILES) - left:
        (folder / name).unlink()
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    changed(folder, "network.json", put("journal", None))
    error = call("audit", folder).error
    assert "rounds.jsonl: the round of line 3 is 3, but chain and store give 2 closed" in error
    assert "the journal lacks its last lines" in error


def test_journal_when_it_lacks_events_that_the_files_know_is_noticed(
    audited: Audited, folder: Path
) -> None:
    path = folder / "events.jsonl"
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(FileMismatch, match=r"is there, but chain and store give \d+ events"):
        unchecked(audited, folder)


def test_run_that_was_not_summed_up_may_lack_its_last_report(
    audited: Audited, folder: Path
) -> None:
    """As after kill -9 between a closing and its report."""
    for name in ("summary.json", "events.jsonl", "model.safetensors"):
        (folder / name).unlink()
    path = folder / "rounds.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    assert "rounds.jsonl: round 3 is closed, and not reported yet" in unchecked(audited, folder)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(FileMismatch, match="the report on round 2 is missing"):
        unchecked(audited, folder)
