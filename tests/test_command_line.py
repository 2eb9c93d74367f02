"""The command line as a person meets it: what it prints, how it ends, what it leaves behind.

Most commands are called in this process, which costs no imports; some run in a process of their
own, as everybody runs them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from tests.calling import Call, Ended
from tests.integration.networks import copied, finished_run, small_scenario, toml_of
from wardround import command_line
from wardround.audit.finished import open_run, read_network
from wardround.devchain.anvil import Anvil
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis
from wardround.host.key_file import write_new_key
from wardround.learning.datasets import DATA_DIR_VARIABLE
from wardround.learning.datasets.heart import HOSPITALS
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.manifest import parse_manifest
from wardround.store import FolderStore
from wardround_simulations.scenario import builtin_scenarios

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_SECONDS = 120


def command(*arguments: object, **options: Any) -> Ended:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "wardround", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        **options,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small scenario's run: three sites, three rounds."""
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to do something to."""
    return copied(finished, tmp_path / "copy")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The small scenario as a file, with a single round."""
    path = tmp_path / "small.toml"
    path.write_text(toml_of(small_scenario(study={"rounds": 1})), encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, to see that nothing was touched."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# ---------------------------------------------------------------------------------- simulate


def test_summary_when_asked_for_as_json_is_one_object_and_nothing_else(
    call: Call, finished: Path, small: Path, tmp_path: Path
) -> None:
    """And of the same models as the library's run."""
    ended = call("simulate", small, "--out", tmp_path / "run", "--json", "--rounds", 3)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.count("\n") == 1
    summary = json.loads(ended.out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert summary["study"].startswith("0x")
    assert len(summary["study"]) == 66
    assert [row["round"] for row in summary["rounds"]] == [1, 2, 3]
    by_library = json.loads((finished / "summary.json").read_text("utf-8"))
    assert [row["model"] for row in summary["rounds"]] == [
        row["model"] for row in by_library["rounds"]
    ]
    for row in summary["rounds"]:
        assert {
            "round", "model", "gas", "contributors", "dropped", "accuracy", "pooled_accuracy",
            "rewards", "wall_seconds",
        } <= row.keys()  # fmt: skip
        assert len(row["model"]) == 66
        assert row["accuracy"].keys() == {"site-1", "site-2", "site-3"}
        assert 0 <= row["pooled_accuracy"] <= 1
        assert row["gas"] > 21_000
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8")) == summary


def test_dropped_sites_when_in_the_summary_have_a_reason(call: Call, tmp_path: Path) -> None:
    scenario = small_scenario(
        study={"rounds": 1}, behaviour=[{"site": "site-2", "attack": "forged_signature"}]
    )
    (tmp_path / "bad.toml").write_text(toml_of(scenario), encoding="utf-8")
    ended = call("simulate", "bad.toml", "--out", "run", "--json")
    (row,) = json.loads(ended.out)["rounds"]
    assert row["dropped"] == [{"site": "site-2", "reason": "signature"}]
    assert ended.status == 0


def test_simulation_when_run_shows_a_table_and_what_to_do_next(
    call: Call, small: Path, tmp_path: Path
) -> None:
    first = call("simulate", small)
    assert first.status == 0
    assert "accuracy in % on each site's own test rows" in first.out
    assert "Final model: average accuracy" in first.out
    assert "audit runs/small" in first.out
    # Without --out each run has a folder of its own.
    assert call("simulate", small, "--seed", 6).status == 0
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert runs == ["small", "small-2"]
    models = [
        json.loads((tmp_path / "runs" / name / "summary.json").read_text("utf-8"))["final"]["model"]
        for name in runs
    ]
    assert models[0] != models[1]


def test_scenarios_when_listed_are_all_there(call: Call) -> None:
    ended = call("scenarios")
    assert ended.status == 0
    for name in builtin_scenarios():
        assert name in ended.out


def test_simulation_when_killed_leaves_a_folder_that_holds_so_far(
    call: Call, small: Path, tmp_path: Path
) -> None:
    """kill -9 in the middle of a study: what was closed can be audited, and paid."""
    run_folder = tmp_path / "killed"
    arguments = ["simulate", str(small), "--out", str(run_folder), "--rounds", "100000", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "wardround", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        rounds = run_folder / "rounds.jsonl"
        while not rounds.exists() or rounds.read_bytes().count(b"\n") < 3:
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    told = rounds.read_bytes().count(b"\n")
    ended = call("audit", run_folder, "--json")
    if ended.status != 0:
        # The kill came while a line was written: the line is named, and dropped by a claim.
        assert "journal.jsonl" in ended.error
        assert call("claim", run_folder).status == 0
        ended = call("audit", run_folder, "--json")
    found = [json.loads(line) for line in ended.out.splitlines()]
    audited = [row for row in found if row["kind"] == "round"]
    assert [row["round"] for row in audited] == list(range(1, len(audited) + 1))
    assert len(audited) >= told >= 3, "every round that was told of is there"
    assert call("claim", run_folder, "site-1").status == 0


# ----------------------------------------------------------------------------------- bad input


def test_data_file_when_missing_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ended = call("simulate", "four-hospitals", "--data-dir", "data", "--out", "run", "--json")
    assert "processed.cleveland.data" in ended.error
    assert "--data-dir" in ended.error or DATA_DIR_VARIABLE in ended.error
    assert ended.out == ""
    assert not list((tmp_path / "run").glob("*")), "the same command can be repeated"


def test_data_file_when_altered_is_named_with_its_digest(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = os.environ.get(DATA_DIR_VARIABLE)
    if not named:
        pytest.skip(f"no heart files: set {DATA_DIR_VARIABLE} to their folder")
    heart = Path(named) / "heart" if (Path(named) / "heart").is_dir() else Path(named)
    shutil.copytree(heart, tmp_path / "data")
    path = tmp_path / "data" / HOSPITALS[0].file
    path.write_bytes(path.read_bytes() + b"\n")
    ended = call("simulate", "four-hospitals", "--data-dir", "data", "--out", "run", "--json")
    assert HOSPITALS[0].file in ended.error
    assert HOSPITALS[0].sha256 in ended.error
    assert not list((tmp_path / "run").glob("*"))
    shutil.copy(heart / HOSPITALS[0].file, path)
    again = call("simulate", "four-hospitals", "--data-dir", "data", "--out", "run", "--rounds", 1)
    assert again.status == 0, "once the file is put right, the same command works"


def written(tmp_path: Path, **tables: Any) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(toml_of(small_scenario(**tables)), encoding="utf-8")
    return path


def test_scenario_when_unknown_is_named_with_those_there_are(call: Call) -> None:
    error = call("simulate", "five-hospitals", "--out", "run").error
    assert "five-hospitals" in error
    assert "four-hospitals" in error


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("rounds = 3", "rouds = 3", 3, "study.rouds: no such key"),
        ("rounds = 3", "rounds = 0", 3, "study.rounds: "),
        ("rounds = 3", "rounds = ", 3, "not TOML"),
        ("[model]", "[model", 6, "not TOML"),
        ("[model]", "[modell]", 6, "modell: no such key"),
        ('optimizer = "sgd"', 'optimizer = "lion"', None, "training.optimizer"),
    ],
)
def test_scenario_when_wrong_is_named_with_its_line(
    call: Call, tmp_path: Path, old: str, new: str, line: int | None, words: str
) -> None:
    path = written(tmp_path, training={"optimizer": "sgd", "momentum": 0.5})
    text = path.read_text("utf-8").replace("momentum = 0.5", 'momentum = 0.5\noptimizer = "sgd"')
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    error = call("simulate", path, "--out", "run").error
    assert words in error
    number = line or text.splitlines().index('optimizer = "sgd"') + 1
    assert f"{path}:{number}:" in error
    assert not (tmp_path / "run").exists()


def test_scenario_when_not_text_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in call("simulate", "mine.toml", "--out", "run").error


@pytest.mark.parametrize("value", [{"features": 3}, {"features": 6, "layers": 2}, {}])
def test_model_when_its_arguments_are_wrong_is_one_line(
    call: Call, tmp_path: Path, value: dict[str, Any]
) -> None:
    path = written(tmp_path, model={"name": "logistic", "arguments": value}, study={"rounds": 1})
    error = call("simulate", path, "--out", "run", "--json").error
    assert "model" in error
    assert not list((tmp_path / "run").glob("*"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"sites": 0}, "sites"),
        ({"sites": 1}, "1 sites are fewer than min_sites, 2"),
        ({"rows": 0}, "rows"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_sites_when_there_are_none_or_too_few_is_one_line(
    call: Call, tmp_path: Path, data: dict[str, Any], words: str
) -> None:
    arguments = {"sites": 3, "rows": 40, "test_rows": 20, "features": 6, **data}
    path = written(tmp_path, data={"name": "generated", "arguments": arguments})
    assert words in call("simulate", path, "--out", "run", "--json").error
    assert not list((tmp_path / "run").glob("*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--chain", "http://127.0.0.1:9"), "http://127.0.0.1:9 does not answer"),
        (("--chain", "ftp://moon"), "'ftp://moon' is no chain's address"),
        (("--engine", "ray"), "add --chain anvil"),
    ],
)
def test_chain_when_it_cannot_be_used_is_one_line(
    call: Call, small: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert words in call("simulate", small, "--out", "run", "--json", *arguments).error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rounds", 0), ("--rounds", 10**6 + 1), ("--rounds", "many"), ("--seed", -1),
        ("--seed", 2**53), ("--engine", "spark"), ("--chain-id", 0), ("--more",),
    ],
    ids=str,
)  # fmt: skip
def test_option_when_out_of_range_says_which(
    call: Call, small: Path, tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    ended = call("simulate", small, "--out", "run", *arguments)
    assert ended.status == 2
    assert str(arguments[0]) in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "run").exists()


def test_scenario_when_it_is_a_folder_says_so(call: Call, tmp_path: Path) -> None:
    assert "it is a folder, not a file" in call("simulate", tmp_path, "--out", "run").error


def test_out_folder_when_not_empty_is_left_alone(call: Call, small: Path, folder: Path) -> None:
    before = contents(folder)
    assert "not an empty folder" in call("simulate", small, "--out", folder).error
    assert contents(folder) == before


def test_out_folder_when_it_cannot_be_made_is_one_line(call: Call, small: Path) -> None:
    assert "small.toml" in call("simulate", small, "--out", small / "inside").error


def test_round_when_it_fails_is_one_line_and_says_why(call: Call, tmp_path: Path) -> None:
    behaviour = [{"site": f"site-{n}", "attack": "nan"} for n in (1, 2)]
    path = written(tmp_path, behaviour=behaviour)
    error = call("simulate", path, "--out", "run", "--json").error
    assert "round 1 failed: 1 good contributions, 2 needed" in error
    assert error.count("malformed") >= 2
    ended = call("audit", "run")
    assert (ended.status, "open: more may follow" in ended.out) == (0, True)


@pytest.mark.parametrize("name", ["audit", "claim", "show"])
def test_run_when_it_is_none_is_one_line(call: Call, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("empty", "missing"):
        assert "not the folder of a run" in call(name, place).error
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (tmp_path / "missing").exists()


def test_traceback_when_debugging_is_shown(tmp_path: Path) -> None:
    ended = command("--debug", "audit", tmp_path)
    assert ended.status != 0
    assert "Traceback" in ended.err


# --------------------------------------------------------------------------------------- audit


def test_audit_when_all_holds_says_what_it_recomputed(finished: Path) -> None:
    """In a fresh process, from the folder alone."""
    ended = command("audit", finished)
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("journal: ")
    assert lines[1] == f"study {read_network(finished).study}"
    rounds = [line for line in lines if line.startswith("round ")]
    assert len(rounds) == 3
    assert all("3 signatures and updates verified, mean recomputed" in line for line in rounds)
    assert lines[-1] == "All holds."


def test_audit_when_asked_for_as_json_has_an_object_a_round(call: Call, finished: Path) -> None:
    ended = call("audit", finished, "--json")
    found = [json.loads(line) for line in ended.out.splitlines()]
    rows = [row for row in found if row["kind"] == "round"]
    assert {row["premise"]: row["compared"] for row in found if row["kind"] == "premise"} == {
        "contract code": True,
        "training code": True,
        "first model": False,
    }
    summary = json.loads((finished / "summary.json").read_text("utf-8"))
    assert [row["model"] for row in rows] == [row["model"] for row in summary["rounds"]]
    assert all(row["holds"] for row in rows)
    assert all(row["recomputed"] == ["mean"] for row in rows)
    assert ended.status == 0


def cid_of_kind(folder: Path, kind: str) -> str:
    with open_run(folder) as opened:
        closed = opened.contract.closed_rounds(opened.study)[1]
        params = opened.contract.params(opened.study)
    manifest_cid = cid_from_sha256(closed.closing.record.manifest)
    manifest = parse_manifest(FolderStore(folder / "store").get(manifest_cid))
    return {
        "update": manifest.contributions[1].update.cid,
        "report": manifest.contributions[1].report.cid,
        "model": manifest.model.cid,
        "manifest": manifest_cid,
        "specification": cid_from_sha256(params.specification),
    }[kind]


@pytest.mark.parametrize("kind", ["update", "report", "model", "manifest", "specification"])
@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_audit_when_an_object_is_damaged_names_it(
    call: Call, folder: Path, kind: str, damage: str
) -> None:
    cid = cid_of_kind(folder, kind)
    path = folder / "store" / cid
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[::-1])
    before = contents(folder)
    ended = call("audit", folder)
    error = ended.error
    assert f"object {cid}" in error
    assert "All holds" not in ended.out
    assert ("is not in" if damage == "missing" else "altered") in error
    assert contents(folder) == before


def test_audit_when_the_journal_is_altered_fails_and_names_its_line(
    call: Call, folder: Path
) -> None:
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"status":1', b'"status":0')
    path.write_bytes(b"".join(lines))
    assert f"{path}:5: the journal was altered" in call("audit", folder).error


def test_audit_when_the_journal_ends_early_fails(call: Call, folder: Path) -> None:
    path = folder / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert "lines are missing" in call("audit", folder).error


def test_audit_when_the_study_is_not_the_files_says_so(call: Call, folder: Path) -> None:
    path = folder / "network.json"
    value = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**value, "study": "0x" + "12" * 32}), "utf-8")
    error = call("audit", folder).error
    assert "12" * 32 in error
    path.write_text(json.dumps({**value, "journal": None, "stuody": 1}), "utf-8")
    assert "no such key" in call("audit", folder).error
    path.write_text("{", "utf-8")
    assert "not JSON" in call("audit", folder).error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("0x" + "12" * 32,), "needs --rpc, --contract and --store"),
        (
            ("0x" + "12" * 32, "--rpc", "http://127.0.0.1:9", "--contract", "0x" + "00" * 20,
             "--store", "store"),
            "does not answer",
        ),
        (("0x12", "--rpc", "x", "--contract", "y", "--store", "z"), "the study's id is malformed"),
    ],
)  # fmt: skip
def test_audit_of_a_study_when_it_cannot_be_found_is_one_line(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert words in call("audit", *arguments).error
    assert list(tmp_path.iterdir()) == [], "nothing is made where nothing was found"


# --------------------------------------------------------------------------------------- claim


def test_claim_when_made_pays_once_and_the_audit_still_holds(call: Call, folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    earned = {site: int(amount) for site, amount in summary["final"]["earned"].items()}
    names = read_network(folder).sites
    first = call("claim", folder, "site-1")
    assert first.status == 0
    assert "past the challenge window" in first.out
    assert f"to {names['site-1']}" in first.out.lower()
    assert "site-2" not in first.out
    assert claimed(folder) == {names["site-1"]: earned[names["site-1"]]}
    again = call("claim", folder, "site-1")
    assert (again.status, "nothing due" in again.out) == (0, True)
    assert claimed(folder) == {names["site-1"]: earned[names["site-1"]]}
    everyone = call("claim", folder)
    assert everyone.out.count("paid") == 2 + 1  # "tokens paid before", too
    assert claimed(folder) == earned
    assert call("claim", folder).out.count("nothing due") == 3
    assert "All holds." in call("audit", folder).out


def claimed(folder: Path) -> dict[str, int]:
    """Each site's balance in the token, from the journal run again."""
    from wardround.chain.study_token import StudyToken

    with open_run(folder) as opened:
        token = StudyToken(opened.chain, opened.file.token)
        balances = {site: token.balance_of(site) for site in opened.file.sites.values()}
        for site, balance in balances.items():
            assert opened.contract.claimed(opened.study, site) == balance
    return {site: balance for site, balance in balances.items() if balance}


def test_claim_when_interrupted_before_its_end_was_noted_spoils_nothing(
    call: Call, folder: Path
) -> None:
    noted = (folder / "network.json").read_bytes()
    assert call("claim", folder, "site-2").status == 0
    assert (folder / "network.json").read_bytes() != noted
    (folder / "network.json").write_bytes(noted)  # as if killed before it could be written
    assert "All holds." in call("audit", folder).out
    again = call("claim", folder, "site-2")
    assert (again.status, "nothing due" in again.out) == (0, True)
    # A line that was cut off while it was written is dropped by the next claim.
    journal = folder / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:50])
    assert "ends inside a line" in call("audit", folder).error
    assert call("claim", folder, "site-3").status == 0
    assert "All holds." in call("audit", folder).out


@pytest.mark.parametrize("site", ["site-9", "0x" + "5a" * 20, "0x12", "", "Site-1"])
def test_claim_when_the_site_is_unknown_lists_those_there_are(
    call: Call, folder: Path, site: str
) -> None:
    before = contents(folder)
    error = call("claim", folder, site).error
    assert "site-1, site-2, site-3" in error
    assert contents(folder) == before


def test_claim_when_the_site_is_given_by_its_address_pays_it(call: Call, folder: Path) -> None:
    address = read_network(folder).sites["site-3"]
    assert "paid" in call("claim", folder, address).out
    assert list(claimed(folder)) == [address]


def test_claim_when_no_round_was_closed_says_so(call: Call, tmp_path: Path) -> None:
    behaviour = [{"site": f"site-{n}", "absent": [1]} for n in (1, 2)]
    path = written(tmp_path, behaviour=behaviour)
    assert "round 1 failed" in call("simulate", path, "--out", "run", "--json").error
    assert "no round was closed" in call("claim", "run").error


def test_claim_when_the_journal_is_altered_pays_nobody(call: Call, folder: Path) -> None:
    path = folder / "journal.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    before = contents(folder)
    assert "the journal was altered" in call("claim", folder).error
    assert contents(folder) == before


# -------------------------------------------------------------------------- show, verify-file


def test_objects_when_shown_are_what_they_are(call: Call, finished: Path) -> None:
    listed = call("show", finished)
    assert listed.status == 0
    kinds = [line.split()[1] for line in listed.out.splitlines() if line.startswith("b")]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "manifest": 3, "report": 9, "vector": 13, "specification": 1,
    }  # fmt: skip
    for kind in ("update", "report", "model", "manifest", "specification"):
        cid = cid_of_kind(finished, kind)
        assert cid in call("show", finished, cid).out


def test_object_when_shown_but_damaged_or_unknown_is_one_line(call: Call, folder: Path) -> None:
    cid = cid_of_kind(folder, "report")
    path = folder / "store" / cid
    path.write_bytes(path.read_bytes() + b" ")
    assert cid in call("show", folder, cid).error
    path.unlink()
    assert cid in call("show", folder, cid).error
    for name in ("x", "../network.json", "b" * 59, ""):
        assert "malformed" in call("show", folder, name).error


def test_file_when_verified_has_the_cid_and_root_of_the_store(call: Call, finished: Path) -> None:
    cid = cid_of_kind(finished, "model")
    ended = call("verify-file", finished / "store" / cid)
    summary = json.loads((finished / "summary.json").read_text("utf-8"))
    assert cid in ended.out
    assert summary["rounds"][1]["model"] in ended.out


def test_file_when_missing_or_a_folder_is_one_line(call: Call, tmp_path: Path) -> None:
    assert "there is no such file" in call("verify-file", tmp_path / "none").error
    assert "there is no such file" in call("verify-file", tmp_path).error
    (tmp_path / "empty").write_bytes(b"")
    assert call("verify-file", tmp_path / "empty").status == 0


# ----------------------------------------------------------------------- a chain that is shared


@dataclass(frozen=True)
class Node:
    """A node that others run, and a key with money on it."""

    url: str
    funder: Path


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    key = tmp_path_factory.mktemp("node") / "funder.key"
    account = write_new_key(key)
    try:
        anvil = Anvil(Genesis(4242, int(time.time()), {account.address: 10**21}))
    except AnvilMissing as error:
        pytest.skip(str(error))
    with anvil:
        yield Node(anvil.chain.url, key)


def test_study_when_on_a_shared_chain_is_audited_by_its_id(
    call: Call, small: Path, tmp_path: Path, node: Node
) -> None:
    ended = call(
        "simulate", small, "--out", "run", "--json", "--chain", node.url,
        "--chain-id", 4242, "--funder-key", node.funder,
    )  # fmt: skip
    assert ended.status == 0, ended.err
    file = read_network(tmp_path / "run")
    assert not (tmp_path / "run" / "journal.jsonl").exists(), "the chain itself is the record"
    where = ("--rpc", node.url, "--contract", file.contract, "--store", "run/store")
    assert "All holds." in call("audit", file.study, *where).out
    assert "All holds." in call("audit", file.study, *where, "--chain-id", 4242).out
    assert "All holds." in call("audit", "run").out
    assert "chain 4242, not 1" in call("audit", file.study, *where, "--chain-id", 1).error
    assert "is not final before" in call("claim", "run").error
    # What a deployed study leaves: its model, taken by the study's id.
    export = ("model", "export", file.study, *where, "--out", "model.safetensors")
    assert call(*export).good.count("recomputed, equal") == ended.out.count('"wall_seconds"') - 1
    exported = (tmp_path / "model.safetensors").read_bytes()
    assert exported == (tmp_path / "run" / "model.safetensors").read_bytes()
    verify = ("model", "verify", "model.safetensors")
    assert "The file is this round's model." in call(*verify, file.study, *where).good
    assert "The file is this round's model." in call(*verify, *where).good
    assert "The file is this round's model." in call(*verify, "run").good
    assert "no such study" in call(*verify, "0x" + "12" * 32, *where).error
    assert "no such study" in call("audit", "0x" + "12" * 32, *where).error
    nobody = ("--rpc", node.url, "--contract", "0x" + "12" * 20, "--store", "run/store")
    assert call("audit", file.study, *nobody).error


def test_chain_when_it_is_another_is_refused_before_anything_is_made(
    call: Call, small: Path, tmp_path: Path, node: Node
) -> None:
    options = ("--out", "run", "--json", "--chain", node.url)
    wrong = call("simulate", small, *options, "--chain-id", 1, "--funder-key", node.funder)
    assert "serves chain 4242, not 1" in wrong.error
    assert "--funder-key FILE" in call("simulate", small, *options).error
    (tmp_path / "bad.key").write_text("no key")
    assert "key file" in call("simulate", small, *options, "--funder-key", "bad.key").error
    assert "key file" in call("simulate", small, *options, "--funder-key", "none.key").error
    poor = tmp_path / "poor.key"
    write_new_key(poor)
    assert "holds 0 wei" in call("simulate", small, *options, "--funder-key", poor).error


def test_run_when_its_chain_is_gone_is_one_line(call: Call, folder: Path) -> None:
    path = folder / "network.json"
    value = json.loads(path.read_text("utf-8"))
    gone = {**value, "journal": None, "chain": "http://127.0.0.1:9"}
    path.write_text(json.dumps(gone), "utf-8")
    (folder / "journal.jsonl").unlink()
    for name in ("audit", "claim"):
        assert "does not answer" in call(name, folder).error


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_command_when_listed_is_described_as_by_itself(name: str) -> None:
    group = typer.main.get_group(command_line.app)
    _, found, _ = group.resolve_command(click.Context(group), [name])
    assert found is not None
    first = (found.help or "").split("\n\n")[0]
    assert " ".join(first.split()) == command_line.COMMANDS[name][1]


def commands_below(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for word, below in command.commands.items():
            yield from commands_below(below, f"{name} {word}")
    else:
        yield name, command


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_help_when_asked_for_flows_and_ends_with_examples(name: str) -> None:
    """Typer keeps line breaks, so those of our source's lines must not reach it."""
    group = typer.main.get_group(command_line.app)
    _, found, _ = group.resolve_command(click.Context(group), [name])
    assert found is not None
    for called, command in commands_below(found, name):
        prose, _, examples = (command.help or "").partition("\n\nExample")
        assert all("\n" not in paragraph for paragraph in prose.split("\n\n")), called
        assert f"\n  wardround {called}" in examples, called


def test_help_of_an_auditors_key_names_all_that_it_goes_with() -> None:
    group = typer.main.get_group(command_line.app)
    _, found, _ = group.resolve_command(click.Context(group), ["audit"])
    assert found is not None
    (key,) = (one for one in found.params if one.name == "key")
    assert isinstance(key, click.Option)
    assert "With --watch" in (key.help or "")
    assert "With --sign" in (key.help or "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--help"], "Simulate hospitals"),
        (["site", "--help"], "Take part"),
        (["sit"], "Did you mean 'site'"),
    ],
)
def test_help_when_asked_for_imports_nothing_heavy(words: list[str], said: str) -> None:
    program = (
        "import sys\nfrom wardround import command_line\n"
        f"sys.argv = ['wardround', *{words!r}]\n"
        "try:\n    command_line.main()\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'web3', 'eth_account', 'eth', 'flwr', 'starlette'}\n"
        "    print('heavy:', sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "heavy: []" in done.stdout, done.stderr
    assert said in done.stdout + done.stderr


def test_version_is_the_installed_distributions() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wardround", "--version"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"wardround {version('wardround')}\n",
        "",
    )
