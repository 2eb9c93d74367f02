"""A simulation from nothing to a finished folder, and what is left of one that fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.networks import run, small_scenario
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run, read_network
from wardround.chain.errors import ChainError, ChainUnreachable
from wardround.command_line import app
from wardround.devchain.journal import read_journal
from wardround.learning.errors import DataError, LearningError
from wardround.protocol.errors import RoundFailed, ScenarioError, SpecificationError, WardroundError
from wardround_client.guard.client import GuardClient, guard_of
from wardround_client.guard.log import GuardLog
from wardround_client.home import Home
from wardround_simulations import run as module
from wardround_simulations.run import ChainChoice, Watcher, simulate
from wardround_simulations.scenario import Scenario, builtin_scenarios


def test_folder_when_a_run_is_finished_has_everything(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "coordinator", "events.jsonl", "journal.jsonl", "layout.json", "model.safetensors",
        "network.json", "passwords", "plots", "rounds.jsonl", "scenario.toml", "simulation.key",
        "sites", "sponsor.key", "store", "summary.json",
    }  # fmt: skip


def test_journal_when_a_run_is_finished_is_noted(finished: Path) -> None:
    noted = read_network(finished).journal
    assert noted == "0x" + read_journal(finished / "journal.jsonl").digest.hex()


def test_run_when_opened_has_the_same_rounds(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text("utf-8"))
    with open_run(finished) as opened:
        audit = StudyAudit(opened.contract, opened.study, opened.store)
        models = ["0x" + one.record.model.hex() for one in audit.rounds()]
        # Specification, first model; and each round three updates and reports, manifest, model.
        assert audit.check_objects() == 2 + 3 * 8
        assert opened.replayed == len(read_journal(finished / "journal.jsonl").entries)
    assert models == [row["model"] for row in summary["rounds"]]


def test_run_when_repeated_with_new_keys_has_the_same_models(
    tmp_path: Path, finished: Path
) -> None:
    again = run(small_scenario(), tmp_path / "again")
    summary = json.loads((finished / "summary.json").read_text("utf-8"))
    assert [row["model"] for row in again.rounds] == [row["model"] for row in summary["rounds"]]
    assert again.summary["study"] != summary["study"], "keys and contract are new"
    other = run(small_scenario(study={"seed": 6, "rounds": 1}), tmp_path / "other")
    assert other.rounds[0]["model"] != again.rounds[0]["model"]


def test_watcher_when_given_hears_of_everything(tmp_path: Path) -> None:
    words: list[str] = []
    replies: list[tuple[int, str]] = []
    rounds: list[int] = []
    started: list[int] = []
    watcher = Watcher(
        on_progress=words.append,
        on_start=lambda network: started.append(len(network.parties)),
        on_reply=lambda node, kind, seconds: replies.append((node, kind)),
        on_round=lambda summary: rounds.append(summary["round"]),
    )
    run(small_scenario(study={"rounds": 2}), tmp_path / "run", watcher=watcher)
    assert (started, rounds) == ([3], [1, 2])
    assert [kind for _, kind in replies].count("train") == 6
    assert "summing up" in words


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], type[WardroundError], str]] = [
    ("ray without anvil", {}, {"engine": "ray"}, ScenarioError, "add --chain anvil"),
    ("flwr without anvil", {}, {"engine": "flwr"}, ScenarioError, "add --chain anvil"),
    (
        "attackers under flwr",
        {"behaviour": [{"site": "site-1", "attack": "nan"}]},
        {"engine": "flwr", "choice": ChainChoice("anvil")},
        ScenarioError,
        "use --engine ray",
    ),
    ("unknown data", {"data": {"name": "mnist"}}, {}, DataError, "mnist"),
    ("unknown chain", {}, {"choice": ChainChoice("moon")}, ChainError, "moon"),
    (
        "no such node",
        {},
        {"choice": ChainChoice("http://127.0.0.1:9")},
        ChainUnreachable,
        "does not answer",
    ),
    (
        "unknown site",
        {"behaviour": [{"site": "site-9", "attack": "nan"}]},
        {},
        ScenarioError,
        "no site is called",
    ),
    ("too few sites", {"aggregation": {"min_sites": 9}}, {}, ScenarioError, "fewer than min_sites"),
    (
        "another model",
        {"model": {"arguments": {"features": 5}}},
        {},
        LearningError,
        "takes 5 features, and a row of this table has 6: ",
    ),
    (
        "bad sites",
        {"behaviour": [{"site": f"site-{n}", "attack": "nan"} for n in (1, 2)]},
        {},
        RoundFailed,
        r"round 1 failed: 1 good contributions, 2 needed .*site-1 \(0x.*\): the update is <f4",
    ),
]


@pytest.mark.parametrize(
    ("tables", "choices", "kind", "words"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
def test_run_when_it_cannot_be_done_says_why(
    tmp_path: Path,
    tables: dict[str, Any],
    choices: dict[str, Any],
    kind: type[WardroundError],
    words: str,
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(kind, match=words):
        run(small_scenario(**tables), folder, **choices)
    if kind is not RoundFailed:
        assert not folder.exists() or not list(folder.iterdir()), "the same command can be repeated"


def test_endpoint_when_nobody_pays_for_gas_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costly = SimpleNamespace(close=lambda: None, is_free=lambda: False)
    monkeypatch.setattr(module, "open_chain", lambda *_: costly)
    key = tmp_path / "funder.key"
    for funder, words in ((None, "--funder-key FILE"), (key, "key file")):
        choice = ChainChoice("http://127.0.0.1:9", None, funder)
        with pytest.raises((ScenarioError, SpecificationError), match=words):
            run(small_scenario(), tmp_path / "run", choice=choice)
        assert not (tmp_path / "run").exists()


def failing_at(number: int) -> Callable[[dict[str, Any]], None]:
    def on_round(summary: dict[str, Any]) -> None:
        if summary["round"] == number:
            raise KeyboardInterrupt

    return on_round


def test_run_when_stopped_between_rounds_holds_up_to_there(tmp_path: Path) -> None:
    watcher = Watcher(on_round=failing_at(2))
    with pytest.raises(KeyboardInterrupt):
        run(small_scenario(), tmp_path / "run", watcher=watcher)
    assert read_network(tmp_path / "run").journal is None
    with open_run(tmp_path / "run") as opened:
        audited = list(StudyAudit(opened.contract, opened.study, opened.store).rounds())
    assert [one.closed.round for one in audited] == [1, 2]


def test_folder_when_a_run_stops_before_its_study_was_there_is_empty_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(words: str) -> None:
        if words.startswith("admitting"):
            raise KeyboardInterrupt

    (tmp_path / "run").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(small_scenario(), tmp_path / "run", watcher=Watcher(on_progress=stop))
    assert list((tmp_path / "run").iterdir()) == []
    run(small_scenario(study={"rounds": 1}), tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "ray"], "add --chain anvil"),
        (["--chain", "http://127.0.0.1:1"], "does not answer"),
        ([], "no site is called 'geneva'"),
    ],
)
def test_folder_when_arguments_or_scenario_are_wrong_is_not_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = builtin_scenarios()["demo"].read_text("utf-8")
    Path("mine.toml").write_text(text + "[policy.geneva]\nevaluate = true\n", "utf-8")
    with pytest.raises(WardroundError, match=words):
        app(["simulate", "mine.toml", *arguments], standalone_mode=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_folder_when_not_empty_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    with pytest.raises(ScenarioError, match="not an empty folder"):
        run(small_scenario(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_guards_when_a_run_is_over_are_let_go(tmp_path: Path) -> None:
    run(small_scenario(study={"rounds": 1}), tmp_path / "run")
    home = Home(tmp_path / "run" / "sites" / "site-1")
    assert isinstance(guard_of(home), GuardClient)
    # Its log is free for the next one.
    GuardLog(home.log, lambda: 1).close()


def test_root_recording_when_simulated_holds(tmp_path: Path) -> None:
    scenario: Scenario = small_scenario(
        study={"rounds": 2},
        chain={"recording": "root", "bond": 10},
        aggregation={"rule": "median"},
        rewards={"scoring": "examples"},
    )
    results = simulate(scenario, "", tmp_path / "run")
    assert max(row["gas"] for row in results.rounds) <= 65_000
    with open_run(tmp_path / "run") as opened:
        audit = StudyAudit(opened.contract, opened.study, opened.store)
        assert all(one.closed.entries is None for one in audit.rounds())


def test_run_when_its_folder_is_a_relative_path_is_summed_up_and_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for confidential in (False, True):
        folder = Path("runs") / str(confidential)
        results = run(small_scenario(study={"rounds": 1}), folder, confidential=confidential)
        assert results.summary["final"]["round"] == 1
        with open_run(folder) as opened:
            assert list(opened.store.cids())
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
