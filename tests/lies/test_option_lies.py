"""An option with another value is refused by name, or changes what the command does.

These are the commands about studies and runs; parties' and readers' have tests beside this one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calling import Call
from tests.integration.networks import finished_run, small_scenario, toml_of
from tests.integration.networks import run as run_scenario
from tests.lies.options import BY_ID, BY_RUN, IDENTITY, RefusedByName, TriedBy, parameters
from tests.lies.party_options import OF_PARTIES
from tests.lies.probing import ProbedLine, others_of, refused_of
from tests.lies.reader_options import OF_READERS
from tests.lies.stages import staged
from wardround.audit.finished import open_run, read_network
from wardround.devchain.faucet import FAUCET
from wardround.host.durable import write_private
from wardround.host.key_file import read_key
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.identifiers import hex_of
from wardround.protocol.manifest import parse_manifest
from wardround_simulations.stage import OBJECTION_SECONDS, Stage


def _renamed(command: str, name: str) -> str:
    return "run_or_study" if name == IDENTITY and not command.startswith("court") else name


#: By command and parameter.
PROBES = (
    {
        command: {_renamed(command, name): probe for name, probe in probes.items()}
        for table in (BY_ID, BY_RUN)
        for command, probes in table.items()
    }
    | OF_PARTIES
    | OF_READERS
)


def test_every_option_has_a_probe() -> None:
    found = set(parameters())
    assert {(command, name) for command, probes in PROBES.items() for name in probes} == found
    assert len(found) >= 300, len(found)


def test_option_without_a_probe_is_missed() -> None:
    assert ("audit", "--banana") not in set(parameters())


def test_tests_of_the_commands_own_are_there_and_give_the_option() -> None:
    missing = [
        f"{command} {name}: {probe.test}"
        for command, probes in PROBES.items()
        for name, probe in probes.items()
        if isinstance(probe, TriedBy) and not probe.is_there(name)
    ]
    assert missing == []


# ---------------------------------------------------------------- a run's folder, or its id


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def keys(tmp_path: Path) -> None:
    for name in ("reader", "auditor", "funder"):
        write_private(tmp_path / f"{name}.key", FAUCET.key.hex())


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("command", [one for one in BY_RUN if one != "simulate"])
def test_options_beside_a_folder(call: Call, finished: Path, tmp_path: Path, command: str) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    words: dict[str, tuple[object, ...]] = {"run_or_study": (folder,)}
    arguments: tuple[str, ...] = ("run_or_study", "site")
    if command == "audit":
        words["--jobs"] = (1,)
    if command == "model export":
        words["--out"] = ("out.safetensors",)
    if command == "model verify":
        words["file"] = (folder / "model.safetensors",)
        arguments = ("file", "run_or_study")
    line = ProbedLine(call, command, words, arguments)
    assert refused_of(line, BY_RUN[command]) == []
    if command == "claim":
        # Each claim pays once: the order is that of the options.
        said = line.run("site", ("site-1",)).good
        assert "site-1: paid" in said
        assert "site-2" not in said
        assert "paid" in line.run("--json").good
        return
    before = line.run().good
    assert others_of(line, BY_RUN[command], before) == []


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("command", ["audit", "claim", "model export", "model verify"])
def test_options_of_a_study_by_its_id(
    call: Call, finished: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    if command == "claim":
        # Where the chain has roots alone, what a claim needs is in the store.
        finished = tmp_path / "root"
        run_scenario(small_scenario(study={"rounds": 1}, chain={"recording": "root"}), finished)
    with open_run(finished) as run:
        run.chain.advance(run.contract.study(run.study).challenge_seconds)
        words: dict[str, tuple[object, ...]] = {
            "run_or_study": (hex_of(run.study),),
            "--rpc": (run.chain.url,),
            "--contract": (run.contract.address,),
            "--store": (finished / "store",),
        }
        arguments: tuple[str, ...] = ("run_or_study", "site")
        if command == "claim":
            words["--key"] = (finished / "coordinator" / "coordinator.key",)
        if command == "model export":
            words["--out"] = ("out.safetensors",)
        if command == "model verify":
            words["file"] = (finished / "model.safetensors",)
            arguments = ("file", "run_or_study")
        line = ProbedLine(call, command, words, arguments)
        table = dict(BY_ID[command])
        assert refused_of(line, table, "run_or_study") == []
        if command == "claim":
            site = read_network(finished).sites["site-1"]
            assert "the study never admitted" in line.run("site", ("0x" + "12" * 20,)).good
            assert f"to {site}" in line.run("site", (site,)).good.lower()
            coordinator = read_key(finished / "coordinator" / "coordinator.key").address
            newest = run.chain.block().transactions[0]
            sent = run.chain.transaction(newest)
            assert sent is not None
            assert sent.sender.lower() == coordinator.lower()
            assert line.run("--json").good.startswith("{")
            return
        assert others_of(line, table, line.run().good) == []


def test_options_of_simulate(call: Call, tmp_path: Path) -> None:
    text = toml_of(small_scenario(study={"rounds": 1}))
    (tmp_path / "small.toml").write_text(text, "utf-8")
    write_private(tmp_path / "funder.key", FAUCET.key.hex())
    line = ProbedLine(
        call, "simulate", {"scenario": ("small.toml",), "--out": ("run",)}, ("scenario",)
    )
    table = BY_RUN["simulate"]
    assert refused_of(line, table) == []
    assert not (tmp_path / "run").exists()
    before = line.run().good

    def model(folder: str) -> Any:
        return json.loads(Path(folder, "summary.json").read_text("utf-8"))["final"]["model"]

    wrong = []
    for at, (name, probe) in enumerate(table.items()):
        if isinstance(probe, RefusedByName):
            continue
        out = "other" if name == "--out" else f"run-{at}"
        line.words["--out"] = (out,)
        fault = line.probe(name, probe, before.replace("run", out))
        if fault is None and name in ("--seed", "--rounds", "--simulation-key"):
            fault = f"{name}: the same model" if model(out) == model("run") else None
        wrong += [fault] if fault else []
        if name == "--chain-id":
            assert read_network(Path(out)).chain_id == 4242
    assert wrong == []


# ---------------------------------------------------------------- the court


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as made:
        yield made


def sender_of_the_last(stage: Stage) -> str:
    sent = stage.chain.transaction(stage.chain.block().transactions[-1])
    assert sent is not None
    return sent.sender


def test_options_of_the_court(call: Call, stage: Stage, tmp_path: Path) -> None:
    """In the order of a dispute; each command by two keys, and the sender is the key's."""
    study, parties = hex_of(stage.study), stage.parties

    def line(command: str, store: str = "whole") -> ProbedLine:
        words: dict[str, tuple[object, ...]] = {
            IDENTITY: (study,),
            "--chain": (stage.chain.url,),
            "--contract": (stage.contract.address,),
        }
        if "--store" in BY_ID[command]:
            words["--store"] = (store,)
        if "--key" in BY_ID[command]:
            words["--key"] = ("auditor.key",)
        return ProbedLine(call, command, words, (IDENTITY,))

    for command in (one for one in BY_ID if one.startswith("court")):
        assert refused_of(line(command), BY_ID[command]) == [], command
    # Who signs, what, and for which round.
    stage.chain.advance(OBJECTION_SECONDS)
    attest = line("court attest")
    attest.words["--auditor"] = (parties.auditor.address,)
    asked = attest.run().good
    assert f"{parties.auditor.address} signs 0x" in asked
    assert "0x" in attest.run("--round", (1,)).good
    assert "round 9 was not closed" in attest.run("--round", (9,)).error
    assert "it signs something else" in attest.run("--signature", ("0x" + "12" * 65,)).error
    assert "add --signature" in attest.run("--signatures", ("shared",)).err
    # Whose key demands, answers and collects.
    record = stage.contract.closed_rounds(stage.study)[0].closing.record
    manifest = parse_manifest(stage.store.get(cid_from_sha256(record.manifest)))
    shutil.copytree("whole", "damaged")
    (tmp_path / "damaged" / manifest.model.cid).unlink()
    demanded = line("court challenge", "damaged").run()
    assert (demanded.status, "demanded" in demanded.out) == (1, True)
    assert sender_of_the_last(stage) == parties.auditor.address
    demands = line("court demands")
    shown = demands.run().good
    assert "part 0 of its model" in shown
    assert others_of(demands, BY_ID["court demands"], shown) == []
    answer = line("court answer")
    answer.words["--key"] = ("standby.key",)
    answered = answer.run("--json").good
    assert {json.loads(one)["kind"] for one in answered.splitlines()} == {"answered"}
    assert sender_of_the_last(stage) == parties.standby.address
    collect = line("court collect")
    collect.words["--key"] = ("first.key",)
    assert "has nothing to collect" in collect.run("--account", ("0x" + "12" * 20,)).good
    # Any account pays for the gas of another's.
    paid = collect.run("--account", (parties.standby.address,)).good
    assert f"tokens to {parties.standby.address}" in paid
    assert sender_of_the_last(stage) == parties.first.address
    for command in ("court challenge", "court attest"):
        found = line(command).run("--json").good
        assert all(json.loads(one)["kind"] for one in found.splitlines()), command
    collected = collect.run("--json").good.splitlines()
    assert all(json.loads(one)["account"] == parties.first.address for one in collected)
