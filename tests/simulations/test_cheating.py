"""Every cheat is caught by what should catch it, and no honest round is overturned."""

from __future__ import annotations

import json
import threading
import time
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
from wardround_simulations.accusations import ACCUSATIONS
from wardround_simulations.cheated_studies import EarlyStudy
from wardround_simulations.cheating import CHEATS, MISDEEDS, ROUNDS, RULES, Cheat, Trials
from wardround_simulations.cheating_commands import outcomes_table
from wardround_simulations.cheats import Cheater
from wardround_simulations.early_misdeeds import EARLY
from wardround_simulations.later_misdeeds import LATER
from wardround_simulations.misdeeds import (
    Misdeed,
    Moment,
    Remedy,
    rehearse,
)
from wardround_simulations.outcomes import Outcome, Role
from wardround_simulations.refusals import gas_of_refusal
from wardround_simulations.stage import (
    BOND,
    CHALLENGE_SECONDS,
    DEPOSIT,
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
    role=Role.COORDINATOR,
    tried="pays itself",
    recording="full",
    caught_by="challengeRewards",
    expected="challengeRewards",
    gas=5,
    slashed=BOND,
    forfeited=0,
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
    # What a refused transaction costs ends before the gas that it is tried with at first.
    assert 21_000 < outcome.gas < (1_000_000 if refused else 1_300_000)
    assert outcome.role is cheat.role
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
    assert len(outcomes) == len(ACCUSATIONS) + 1
    for outcome in outcomes:
        assert outcome.good, outcome
        assert (outcome.slashed, outcome.closed_by) == (0, "first")
        assert outcome.gas > 21_000
    paid = {one.tried: one.forfeited for one in outcomes if one.forfeited}
    assert paid == {
        "accuses: the same, in steps": DEPOSIT,
        "accuses: withheld data": DEPOSIT,
    }


@pytest.mark.parametrize("recording", RECORDINGS)
def test_what_any_party_tries_is_refused_or_set_right(trials: Trials, recording: Recording) -> None:
    outcomes = list(trials.misdeeds(recording))
    assert len(outcomes) == MISDEEDS
    for outcome in outcomes:
        assert outcome.good, outcome
        assert outcome.slashed == 0
        assert 21_000 < outcome.gas < 1_000_000
    assert {one.role for one in outcomes} == set(Role) - {Role.NONE}
    paid = {one.tried: one.forfeited for one in outcomes if one.forfeited}
    assert paid == {
        "answers its own demand": DEPOSIT / 2,
        "never reveals its challenge": DEPOSIT,
        "leaves a tally open": DEPOSIT,
        "registers beyond the bound": DEPOSIT,
        "hides what it registered": DEPOSIT,
    }


@pytest.mark.parametrize("left", [0, 1])
def test_misdeed_that_is_let_in_or_keeps_money_is_not_good(tmp_path: Path, left: int) -> None:
    """Trials of misdeeds can fail: one act changes nothing, another leaves money behind."""

    def keep(study: EarlyStudy) -> Remedy:
        sent = study.token.transfer(study.parties.sponsor, study.escrow.address, left)
        return Remedy("transfer", sent)

    def end(study: EarlyStudy) -> None:
        study.ward.end_study(study.parties.sponsor, study.study)

    act = keep if left else lambda study: None
    misdeed = Misdeed(Role.SPONSOR, "leaves money", "transfer", act)
    with theatre(tmp_path) as scene:
        stage = scene.stage(rounds=1)
        parts = (scene.ward, stage.token, scene.parties, stage.params)
        bare = EarlyStudy(*parts, "bare", base=b"")
        (outcome,) = rehearse(bare, (Moment(EarlyStudy.create, (misdeed,)), Moment(end)))
    assert (outcome.caught_by, outcome.ends_right) == (("transfer", False) if left else ("", True))
    assert not outcome.good


def test_gas_of_a_refusal_is_what_the_transaction_costs_where_it_is_mined(tmp_path: Path) -> None:
    parties = Parties.new()
    genesis = Genesis(31337, 1_760_000_000, dict.fromkeys(parties.addresses, 10_000 * _ETHER))
    try:
        anvil = Anvil(genesis)
    except AnvilMissing as error:
        pytest.skip(str(error))
    with anvil:
        chain, sender = anvil.chain, parties.sponsor
        token = StudyToken.deploy(chain, sender, 1)
        call = token.contract.function("transfer", parties.first.address, 2)
        error = "ERC20InsufficientBalance"
        found = gas_of_refusal(chain, sender.address, call, error)
        assert gas_of_refusal(chain, sender.address, call, "ERC20InvalidReceiver") == 0
        raw = sender.sign_transaction(
            {
                "chainId": 31337,
                "nonce": chain.transaction_count(sender.address),
                "gas": 100_000,
                "gasPrice": 10**10,
                "to": token.address,
                "value": 0,
                "data": call.data,
            }
        ).raw_transaction
        mined = chain.rpc("eth_sendRawTransaction", "0x" + raw.hex())
        deadline = time.monotonic() + 30.0
        while (receipt := chain.rpc("eth_getTransactionReceipt", mined)) is None:
            assert time.monotonic() < deadline, "it is not mined"
    assert int(receipt["status"], 16) == 0
    used = int(receipt["gasUsed"], 16)
    assert used <= found <= 1.02 * used


def test_cheat_that_nobody_notices_is_not_good(trials: Trials) -> None:
    """The trial can fail: an honest act is caught by nothing."""
    act = Cheat("closes as it should", lambda it: it.close(it.draft()), "challengeEntry")
    act.act.__name__ = "honest-act"
    outcome = trials.trial(act, Recording.ROOT)
    assert outcome.caught_by == ""
    assert outcome.ends_right
    assert not outcome.good


def test_every_cheat_has_a_title_of_its_own_and_words() -> None:
    misdeeds = [one for moment in (*EARLY, *LATER) for one in moment.misdeeds]
    tried = [(one.role, one.title) for one in (*CHEATS, *misdeeds)]
    assert len(set(tried)) == len(tried) == len(CHEATS) + MISDEEDS
    assert all(cheat.act.__doc__ for cheat in CHEATS)


def test_table_joins_what_differs_by_recording_alone_and_parts_roles() -> None:
    other = replace(GOOD, recording="root", gas=1234)
    wrong = replace(GOOD, tried="signs nothing", caught_by="", slashed=0)
    late = replace(GOOD, role=Role.CHALLENGER, slashed=0, forfeited=DEPOSIT // 2)
    written = StringIO()
    Console(width=100, file=written).print(outcomes_table([GOOD, late, other, wrong]))
    lines = [line.split() for line in written.getvalue().splitlines() if line.strip()]
    assert lines[2:] == [
        ["a", "coordinator"],
        ["pays", "itself", "challengeRewards", "1,234", "bond", "50", "right"],
        ["signs", "nothing", "(full)", "–", "5", "gas", "WRONG"],
        ["a", "challenger"],
        ["pays", "itself", "(full)", "challengeRewards", "5", "deposit", "2.5", "right"],
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
    assert (value["role"], value["paid_with"]) == ("a coordinator", "bond")


def test_all_trials_are_as_many_as_the_command_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, outcomes in (
        ("honest", GOOD),
        ("trial", GOOD),
        ("copied", GOOD),
        ("accusations", [GOOD] * (len(ACCUSATIONS) + 1)),
        ("misdeeds", [GOOD] * MISDEEDS),
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
