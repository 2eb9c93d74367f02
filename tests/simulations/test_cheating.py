"""Every cheat is caught by what should catch it, and no honest round is overturned."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.chain.staged import theatre
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.command_line import app
from wardround.devchain.anvil import Anvil
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis
from wardround.host.key_file import write_new_key
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import Recording, RuleId
from wardround_simulations import cheats
from wardround_simulations.cheating import CHEATS, ROUNDS, RULES, Cheat, Outcome, Trials
from wardround_simulations.cheating_commands import outcomes_table
from wardround_simulations.cheats import Cheater
from wardround_simulations.stage import (
    BOND,
    CHALLENGE_SECONDS,
    OBJECTION_SECONDS,
    REWARD,
    Parties,
    Stage,
    specification,
)

RECORDINGS = [pytest.param(one, id=one.name.lower()) for one in Recording]
#: What is caught under one recording is tried under the other in depth.
TRIED = [
    pytest.param(
        cheat,
        one,
        cheat.expected(one),
        id=f"{cheat.title}, {one.name.lower()}",
        marks=[pytest.mark.deep] if one is not cheat.recordings[0] else [],
    )
    for cheat in CHEATS
    for one in cheat.recordings
]
GOOD = Outcome(
    tried="pays itself",
    recording="full",
    caught_by="challengeRewards",
    expected="challengeRewards",
    gas=5,
    slashed=BOND,
    closed_by="standby",
    ends_right=True,
    words="x",
)
_ETHER = 10**18


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    parties = Parties.new()
    genesis = Genesis(31337, 1_760_000_000, dict.fromkeys(parties.addresses, 10_000 * _ETHER))
    chain = EmbeddedChain("cheating", genesis)
    opened = Trials(chain, parties, tmp_path_factory.mktemp("cheating"))
    for rule in RULES:
        opened.honest(rule, Recording.FULL)
    yield opened
    chain.close()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name.lower())
def test_honest_study_is_not_overturned(trials: Trials, rule: RuleId) -> None:
    outcome = trials.honest(rule, Recording.ROOT)
    assert outcome.good
    assert (outcome.caught_by, outcome.slashed, outcome.closed_by) == ("", 0, "first")
    assert outcome.words == "all holds"


@pytest.mark.parametrize(("cheat", "recording", "expected"), TRIED)
def test_cheat_is_caught(trials: Trials, cheat: Cheat, recording: Recording, expected: str) -> None:
    outcome = trials.trial(cheat, recording)
    assert outcome.caught_by == expected, outcome.words
    assert outcome.ends_right
    refused = expected.startswith("WardRound_")
    assert outcome.slashed == (0 if refused else BOND)
    assert (outcome.gas == 0) is refused
    again = "first" if cheat.act is cheats.close_twice else "standby"
    assert outcome.closed_by == again


@pytest.mark.parametrize("recording", RECORDINGS)
def test_copy_of_a_proof_saves_nothing_of_the_bond(trials: Trials, recording: Recording) -> None:
    outcome = trials.copied(recording)
    assert outcome.good, outcome
    assert (outcome.slashed, outcome.closed_by) == (BOND, "standby")
    assert outcome.gas > 0


@pytest.mark.parametrize("recording", RECORDINGS)
def test_honest_round_withstands_every_accusation(trials: Trials, recording: Recording) -> None:
    outcomes = list(trials.accusations(recording))
    assert len(outcomes) == 8
    for outcome in outcomes:
        assert outcome.good, outcome
        assert (outcome.slashed, outcome.closed_by) == (0, "first")


def test_cheat_that_nobody_notices_is_not_good(trials: Trials) -> None:
    """The trial can fail: an honest act is caught by nothing."""
    act = Cheat("closes as it should", lambda it: it.close(it.draft()), "challengeEntry")
    act.act.__name__ = "honest-act"
    outcome = trials.trial(act, Recording.ROOT)
    assert outcome.caught_by == ""
    assert outcome.ends_right
    assert not outcome.good


def test_every_cheat_has_a_title_of_its_own_and_words() -> None:
    assert len({cheat.title for cheat in CHEATS}) == len(CHEATS)
    assert all(cheat.act.__doc__ for cheat in CHEATS)


def test_table_joins_what_differs_by_recording_alone() -> None:
    other = replace(GOOD, recording="root", gas=1234)
    wrong = replace(GOOD, tried="signs nothing", caught_by="")
    written = StringIO()
    Console(width=108, file=written).print(outcomes_table([GOOD, other, wrong]))
    lines = [line.split() for line in written.getvalue().splitlines() if "standby" in line]
    assert lines == [
        ["pays", "itself", "both", "challengeRewards", "1,234", "50", "standby", "right"],
        ["signs", "nothing", "full", "–", "5", "50", "standby", "WRONG"],
    ]


@pytest.mark.parametrize("outcome", [GOOD, replace(GOOD, ends_right=False)])
def test_command_ends_with_nonzero_status_unless_all_is_good(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    monkeypatch.setattr(Trials, "run", lambda self: iter([outcome]))
    done = CliRunner().invoke(app, ["cheating", "--chain", "embedded"])
    assert done.exit_code == (0 if outcome.good else 1)
    assert "1 trials on embedded" in done.stdout
    done = CliRunner().invoke(app, ["cheating", "--chain", "embedded", "--json"])
    (value,) = map(json.loads, done.stdout.splitlines())
    assert (value["good"], value["slashed"]) == (outcome.good, str(BOND))


def test_all_trials_are_as_many_as_the_command_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, outcomes in (
        ("honest", GOOD),
        ("trial", GOOD),
        ("copied", GOOD),
        ("accusations", [GOOD] * 8),
    ):
        monkeypatch.setattr(Trials, name, lambda *_, outcomes=outcomes: outcomes)
    assert len(list(Trials.run(object.__new__(Trials)))) == Trials.count


def test_one_command_prints_the_table_on_anvil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anvil answers as the embedded chain does: to a proof, a tally, a demand, and a revert."""
    titles = {
        "shifts a coordinate by one",
        "the same, in several steps",
        "withholds the model",
        "closes twice",
    }
    tried = [cheat for cheat in CHEATS if cheat.title in titles]
    assert len(tried) == len(titles)

    def some(trials: Trials) -> Iterator[Outcome]:
        for rule in (RuleId.MEAN, RuleId.TRIMMED_MEAN):
            yield trials.honest(rule, Recording.FULL)
        yield from (trials.trial(cheat, cheat.recordings[0]) for cheat in tried)

    monkeypatch.setattr(Trials, "run", some)
    done = CliRunner().invoke(app, ["cheating", "--chain", "anvil"])
    if isinstance(done.exception, AnvilMissing):
        pytest.skip(str(done.exception))
    assert done.exit_code == 0, done.output
    assert f"{2 + len(tried)} trials on anvil" in done.output
    assert " 0 not as it should be" in done.output
    assert "…" not in done.output


def test_watch_follows_a_live_study_from_the_command_line(tmp_path: Path) -> None:
    parties, now = Parties.new(), 1_760_000_000
    genesis = Genesis(31337, now, dict.fromkeys(parties.addresses, 10_000 * _ETHER))
    try:
        anvil = Anvil(genesis)
    except AnvilMissing as error:
        pytest.skip(str(error))
    with anvil:
        token = StudyToken.deploy(anvil.chain, parties.sponsor, 3 * REWARD * ROUNDS)
        ward = WardRound.deploy(anvil.chain, parties.sponsor)
        auditor = write_new_key(tmp_path / "auditor.key")
        anvil.chain.transfer(parties.sponsor, auditor.address, _ETHER)
        spec = specification("live", Recording.ROOT, RuleId.MEAN, 2, 1)
        stage = Stage(ward, token, parties, spec, tmp_path / "store", [auditor])
        stage.close(parties.first)
        cheats.shift_a_coordinate(Cheater(stage, parties.first))

        def go_on() -> None:
            while ward.study(stage.study).head != 2:
                threading.Event().wait(0.1)
            stage.close(parties.standby)
            anvil.chain.advance(OBJECTION_SECONDS)

        standby = threading.Thread(target=go_on)
        standby.start()
        study = [hex_of(stage.study), "--rpc", anvil.url, "--contract", ward.address]
        powers = ["--watch", "--challenge", "--key", str(tmp_path / "auditor.key"), "--json"]
        arguments = ["audit", *study, "--store", str(tmp_path / "store"), *powers]
        done = CliRunner().invoke(app, arguments)
        standby.join()
    assert done.exit_code == 0, done.output
    said = [(value["kind"], value["round"]) for value in map(json.loads, done.stdout.splitlines())]
    assert said[:3] == [("holds", 1), ("breach", 2), ("challenged", 2)]
    assert said[-3:] == [("overturned", 2), ("holds", 2), ("attested", 2)]


def test_watch_ends_with_status_1_when_a_breach_stands(tmp_path: Path) -> None:
    with theatre(tmp_path) as scene:
        stage = scene.stage(rounds=1)
        cheats.shift_a_coordinate(Cheater(stage, scene.parties.first))
        scene.chain.advance(CHALLENGE_SECONDS + 1)
        study = [hex_of(stage.study), "--rpc", scene.chain.url, "--contract", scene.ward.address]
        store = ["--store", str(stage.store.folder)]
        done = CliRunner().invoke(app, ["audit", *study, *store, "--watch"])
    assert done.exit_code == 1
    assert "round 1: breach: coordinate 300 of the new model" in done.stdout
    assert "all holds" not in done.stdout


STUDY = "0x" + "00" * 32


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([STUDY, "--watch"], 1),
        (["runs/nothing", "--watch"], 1),
        ([STUDY, "--watch", "--challenge"], 2),
        ([STUDY, "--signatures", "shared"], 2),
        ([STUDY, "--key", "KEY"], 2),
        ([STUDY, "--watch", "--key", "no.key"], 1),
    ],
)
def test_watch_refuses_what_it_cannot_do(tmp_path: Path, arguments: list[str], status: int) -> None:
    write_new_key(tmp_path / "some.key")
    named = [str(tmp_path / "some.key") if one == "KEY" else one for one in arguments]
    assert CliRunner().invoke(app, ["audit", *named]).exit_code == status
