"""Every entry point of the contracts has a command, and the command reaches it."""

from __future__ import annotations

import ast
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import typer
from eth_account import Account

from tests.integration.networks import STUDY_TOML
from tests.test_house import text_of
from wardround import command_line
from wardround.audit.challenge import send_challenge
from wardround.chain.artifacts import load_artifact
from wardround.chain.contract import Contract
from wardround.chain.court import Court
from wardround.chain.court_reader import Contested
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.faucet import DEV_CHAIN_ID, ETHER, FAUCET, balances_of
from wardround.host.key_file import write_private
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.evidence import (
    CoordinateEvidence,
    EntryEvidence,
    Evidence,
    Leaf,
    OmissionEvidence,
    OrderEvidence,
    TotalsEvidence,
    UpdateEvidence,
)
from wardround.protocol.identifiers import Root, SiteAddress, StudyId, hex_of
from wardround.protocol.manifest import parse_manifest
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import Recording, RuleId, genesis_closing
from wardround.protocol.rules import Rule
from wardround_client.guard.answers import KeptAnswers
from wardround_client.home import Home, make_home
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater
from wardround_simulations.stage import OBJECTION_SECONDS, Parties, Stage, specification

CONTRACTS = ("WardRound", "Court", "Escrow", "Grants", "StudyToken")

#: The command that reaches each entry point; tests below run all but the coordinator's rounds.
COMMAND_OF = {
    "WardRound.createStudy": "study create",
    "WardRound.fund": "study fund",
    "WardRound.admitSite": "study admit",
    "WardRound.removeSite": "study remove",
    "WardRound.openStudy": "study open",
    "WardRound.endStudy": "study end",
    "WardRound.refund": "study refund",
    "WardRound.postBond": "coordinator bond",
    "WardRound.releaseBond": "coordinator release",
    "WardRound.closeRound": "coordinator run",
    "WardRound.closeRoundRoot": "coordinator run",
    "WardRound.lockCohort": "coordinator run",
    "WardRound.lockCohortRoot": "coordinator run",
    "WardRound.takeOver": "coordinator run",
    "WardRound.contribute": "site contribute",
    "WardRound.attest": "court attest",
    "WardRound.changePayout": "site payout",
    "WardRound.claim": "claim",
    "WardRound.collect": "court collect",
    "WardRound.claimFee": "court collect",
    "Court.challengeCoordinate": "court challenge",
    "Court.challengeEntry": "court challenge",
    "Court.challengeUpdate": "court challenge",
    "Court.challengeOrder": "court challenge",
    "Court.challengeTotals": "court challenge",
    "Court.challengeOmission": "court challenge",
    "Court.challengeNode": "court challenge",
    "Court.challengeScore": "court challenge",
    "Court.challengeRank": "court challenge",
    "Court.openTally": "court challenge",
    "Court.addToTally": "court challenge",
    "Court.finishTally": "court challenge",
    "Court.commitChallenge": "court challenge",
    "Court.revealChallenge": "court challenge",
    "Court.closeCommitment": "court collect",
    "Court.closeTally": "court collect",
    "Court.demandChunk": "court challenge",
    "Court.closeDemand": "court challenge",
    "Court.answerDemand": "court answer",
    "Court.demandContribution": "coordinator run",
    "Court.closeContribution": "coordinator run",
    "Court.refuseContribution": "coordinator run",
    "Court.answerContribution": "site answer",
    "Grants.grant": "grants give",
    "Grants.revoke": "grants revoke",
    "StudyToken.approve": "study fund",
    "StudyToken.transfer": "chain fund",
}
NO_COMMAND = {
    "WardRound.overturn": "the court alone may call it, when a challenge succeeds",
    "WardRound.hold": "the court alone may call it, when data is demanded",
    "WardRound.take": "the court alone may call it, for a deposit",
    "WardRound.credit": "the court alone may call it, when a deposit is given back or earned",
    "Escrow.pay": "the WardRound alone may call it, whenever it pays",
    "Court.multicall": "many of the court's calls in one transaction, of whichever command",
    "StudyToken.transferFrom": "the contracts call it, out of an approval that a command gave",
}
#: What a coordinator sends in a round: tests of `tests/coordinator` send each; here, from where.
IN_A_ROUND = {
    "WardRound.closeRound": ("session", "close_round"),
    "WardRound.closeRoundRoot": ("session", "close_round"),
    "WardRound.lockCohort": ("session", "lock_cohort"),
    "WardRound.lockCohortRoot": ("session", "lock_cohort"),
    "WardRound.takeOver": ("standby", "take_over"),
    "Court.demandContribution": ("registrations", "demand_contribution"),
    "Court.closeContribution": ("registrations", "close_contribution"),
    "Court.refuseContribution": ("registrations", "refuse_contribution"),
}


def entry_points() -> set[str]:
    return {
        f"{name}.{item['name']}"
        for name in CONTRACTS
        for item in load_artifact(name).abi
        if item["type"] == "function" and item["stateMutability"] not in ("view", "pure")
    }


def test_every_entry_point_has_a_command_or_a_reason() -> None:
    assert COMMAND_OF.keys() | NO_COMMAND.keys() == entry_points()
    assert not COMMAND_OF.keys() & NO_COMMAND.keys()


def commands(group: click.Group, path: str = "") -> Iterator[str]:
    for name in group.commands:
        _, command, _ = group.resolve_command(click.Context(group), [name])
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name


def test_the_commands_named_exist() -> None:
    assert set(COMMAND_OF.values()) <= set(commands(typer.main.get_group(command_line.app)))


@pytest.mark.parametrize("entry_point", IN_A_ROUND)
def test_coordinator_calls_it_in_a_round(entry_point: str) -> None:
    module, method = IN_A_ROUND[entry_point]
    source = ast.parse(text_of(f"coordinator/wardround_coordinator/{module}.py"))
    called = {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    assert method in called
    assert COMMAND_OF[entry_point] == "coordinator run"


# ---------------------------------------------------------------- what evidence becomes


class RecordingCourt(Court):
    """A court that notes what it would send."""

    def __init__(self, rich: bool) -> None:
        self.sent: list[str] = []
        self.rich = rich
        self.chain: Any = SimpleNamespace(timeout_seconds=1)

    def payable_deposits(self, *_: Any) -> int:
        return int(self.rich)

    def approve_deposit(self, *_: Any) -> None:
        pass

    def try_challenge(self, *_: Any) -> None:
        pass

    def challenge_data(self, *_: Any) -> bytes:
        return b"challenge"

    def commitment_of(self, *_: Any) -> tuple[int, bool]:
        return 0, False

    def stands(self, *_: Any) -> bool:
        return True

    def own_tally(self, *_: Any) -> int | None:
        return 1 if "Court.openTally" in self.sent else None

    def _call(self, function: str, *arguments: Any) -> Any:
        return function

    def _send(self, signer: Any, call: Any, label: str, unless: Any) -> None:
        self.sent.append(f"Court.{call}")


LEAF = Leaf(0, bytes(157), ())
SITE = SiteAddress("0x" + "11" * 20)
COORDINATE = CoordinateEvidence(0, bytes(157), (LEAF,), LEAF, LEAF)
OF_A_PROOF = {
    "Court.commitChallenge",
    "Court.revealChallenge",
    "Court.closeTally",
    "Court.closeCommitment",
    "WardRound.claimFee",
}
TALLY = {"Court.openTally", "Court.addToTally", "Court.finishTally"}


@pytest.mark.parametrize(
    ("evidence", "limit_bytes", "sent"),
    [
        (EntryEvidence(LEAF), 10**6, {"Court.challengeEntry"}),
        (UpdateEvidence(LEAF, 0, LEAF, LEAF), 10**6, {"Court.challengeUpdate"}),
        (OrderEvidence(LEAF, LEAF), 10**6, {"Court.challengeOrder"}),
        (OmissionEvidence(SITE, 0, None, LEAF), 10**6, {"Court.challengeOmission"}),
        (TotalsEvidence(bytes(157)), 10**6, {"Court.challengeTotals"}),
        (TotalsEvidence(bytes(314)), 200, TALLY),
        (COORDINATE, 10**6, {"Court.challengeCoordinate"}),
    ],
    ids=lambda value: getattr(value, "challenge", None),
)
def test_evidence_is_sent_to_its_entry_point(
    evidence: Evidence, limit_bytes: int, sent: set[str]
) -> None:
    court, closing = RecordingCourt(rich=False), genesis_closing(Root(bytes(32)))
    contested, rule = Contested(StudyId(bytes(32)), 1, closing, closing), Rule(RuleId.MEAN)
    signer = Account.create()
    send_challenge(court, signer, contested, evidence, rule=rule, limit_bytes=limit_bytes)
    # Nothing is overturned here, as when another proof was first.
    assert set(court.sent) - {"Court.closeTally"} == sent
    assert {COMMAND_OF[one] for one in sent} == {"court challenge"}


def test_proof_is_committed_to_by_who_can_pay_the_deposit() -> None:
    court, closing = RecordingCourt(rich=True), genesis_closing(Root(bytes(32)))
    contested, rule = Contested(StudyId(bytes(32)), 1, closing, closing), Rule(RuleId.MEAN)
    send_challenge(court, Account.create(), contested, EntryEvidence(LEAF), rule=rule)
    # Nothing comes back from this court, as when another proof was first.
    assert court.sent == [
        "Court.commitChallenge",
        "Court.revealChallenge",
        "Court.closeCommitment",
    ]


# ---------------------------------------------------------------- every command, once


@dataclass
class World:
    """A development chain, and which entry points each command has reached there."""

    chain: EmbeddedChain
    command: Callable[..., int]
    out: Callable[[], str]
    contracts: dict[str, str] = field(default_factory=dict)
    reached: dict[str, set[str]] = field(default_factory=dict)

    def run(self, words: str, *options: object, status: int = 0) -> str:
        """Run a command, and note the entry points of the transactions that it sent."""
        first = self.chain.block().number + 1
        ended = self.command(*words.split(), *options)
        said = self.out()
        assert ended == status, said
        name = " ".join(words.split()[:2]) if " " in words else words
        found = self.reached.setdefault(name, set())
        for number in range(first, self.chain.block().number + 1):
            for sent in self.chain.block(number).transactions:
                found |= set(self._called(sent))
        return said

    def _called(self, transaction_hash: str) -> Iterator[str]:
        sent = self.chain.transaction(transaction_hash)
        assert sent is not None
        for name, address in self.contracts.items():
            if sent.to == address:
                contract = Contract(load_artifact(name).abi, address)
                called = contract.arguments(sent.data)
                assert called is not None
                many = called[1]["data"] if called[0] == "multicall" else [sent.data]
                for one in map(contract.arguments, many):
                    assert one is not None
                    yield f"{name}.{one[0]}"


@pytest.fixture
def world(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["wardround", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return int(ended.value.code or 0)

    def out() -> str:
        said = capsys.readouterr()
        return said.out + said.err

    chain = EmbeddedChain(tmp_path.name, Genesis(DEV_CHAIN_ID, int(time.time()), balances_of([])))
    yield World(chain, command, out)
    chain.close()


def word_after(said: str, word: str) -> str:
    return said.split(word, 1)[1].split()[0]


def reaches(world: World, expected: Iterable[str]) -> None:
    missing = {
        f"{name} by {COMMAND_OF[name]}"
        for name in expected
        if name not in world.reached.get(COMMAND_OF[name], set())
    }
    assert not missing


def test_commands_of_sponsor_coordinator_and_reader(world: World, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY_TOML, "utf-8")
    on = ["--chain", world.chain.url]
    address = {}
    for name in ("sponsor", "coordinator"):
        address[name] = word_after(world.run(f"study keygen {name}.key"), "address")
        assert "holds 10.0000" in world.run("chain fund", address[name], *on)
    said = world.run(
        *("study create", "study.toml", *on, "--key", "sponsor.key", "--store", "store"),
        *("--coordinator", address["coordinator"]),
    )
    contract, token, study = (word_after(said, one) for one in ("contract", "token", "study "))
    ward = WardRound(world.chain, contract)
    on += ["--contract", contract, "--key", "sponsor.key"]
    world.contracts = {"WardRound": contract, "Court": ward.court(), "StudyToken": token}
    world.contracts["Grants"] = word_after(world.run("grants deploy", *on), "contract: ")
    given = ["--chain", world.chain.url, "--grants", world.contracts["Grants"]]
    world.run(
        *("coordinator init", "fl", "--chain", world.chain.url, "--chain-id", DEV_CHAIN_ID),
        *("--contract", contract, "--study", study, "--host", "localhost"),
        *("--key", "coordinator.key"),
    )
    world.run("coordinator bond fl")
    site = ["0x" + "ab" * 20, *on]
    admitted = world.run(
        *("study admit", study, *site, "--payout", FAUCET.address, "--max-weight", 9, "--json")
    )
    assert json.loads(admitted)["gas"] > 0
    world.run("study open", study, *on)
    world.run("study remove", study, *site)
    reader = word_after(world.run("store keygen reader.key"), "public key: ")
    signed = [*given, "--key", "sponsor.key"]
    world.run("grants give", study, address["coordinator"], reader, *signed)
    world.run("grants revoke", study, address["coordinator"], *signed)
    # Past the turn of the only coordinator.
    world.run("chain advance", 10**6, "--chain", world.chain.url)
    world.run("study end", study, *on)
    world.run("study refund", study, *on)
    world.run("study fund", study, "0.5", *on)
    world.run("coordinator release fl")
    to = [address["coordinator"], "--chain", world.chain.url, "--key", "sponsor.key"]
    world.run("chain fund", *to, "--ether", 0, "--tokens", 1, "--token", token)
    # The run's first transactions created the contracts, and so the study, unseen.
    world.reached["study create"].add("WardRound.createStudy")
    assert ward.exists(StudyId(bytes.fromhex(study[2:])))
    reaches(
        world,
        [
            name
            for name, command in COMMAND_OF.items()
            if command.split()[0] in ("study", "grants", "chain") or command.endswith("d release")
        ],
    )


@dataclass
class Scene:
    """A study of two closed rounds, its keys in files, and where its objects are."""

    world: World
    stage: Stage
    folder: Path

    def on(self, store: str, key: str) -> list[object]:
        chain, contract = self.stage.chain.url, self.stage.contract.address
        where: list[object] = ["--chain", chain, "--contract", contract, "--store", store]
        return [*where, "--key", f"{key}.key"]


@pytest.fixture
def scene(world: World, tmp_path: Path) -> Scene:
    from wardround.chain.study_token import StudyToken

    parties, chain = Parties.new(), world.chain
    for account in parties.addresses:
        chain.transfer(FAUCET, account, 100 * ETHER)
    for name in ("sponsor", "first", "standby", "auditor"):
        write_private(tmp_path / f"{name}.key", getattr(parties, name).key.hex())
    token = StudyToken.deploy(chain, parties.sponsor, 10**22)
    ward = WardRound.deploy(chain, parties.sponsor)
    spec = specification("scene", Recording.FULL, RuleId.MEAN, 3, 1)
    spec = spec.model_copy(update={"chain": spec.chain.model_copy(update={"closing_fee": "7"})})
    stage = Stage(ward, token, parties, spec, tmp_path / "whole")
    for one in (parties.auditor, parties.standby):
        token.transfer(parties.sponsor, one.address, 10**21)
    world.contracts = {
        "WardRound": ward.address,
        "Court": ward.court(),
        "StudyToken": token.address,
    }
    return Scene(world, stage, tmp_path)


def test_commands_of_auditor_and_site(scene: Scene) -> None:
    world, stage, study = scene.world, scene.stage, hex_of(scene.stage.study)
    stage.close(stage.parties.first)
    stage.chain.advance(OBJECTION_SECONDS)
    assert "final from now on" in world.run("court attest", study, *scene.on("whole", "auditor"))
    site = stage.sites[0].address
    said = world.run("claim", study, site.lower(), *scene.on("whole", "standby"))
    assert f"paid 25 tokens to {site}" in said
    assert "nothing due" in world.run("claim", study, site, *scene.on("whole", "standby"))

    second = stage.close(stage.parties.first)
    manifest = parse_manifest(stage.store.get(cid_from_sha256(second.closing.record.manifest)))
    shutil.copytree("whole", "damaged")
    (scene.folder / "damaged" / manifest.model.cid).unlink()
    assert "round 2: demanded" in world.run(
        "court challenge", study, *scene.on("damaged", "auditor"), status=1
    )
    demands = ["--chain", stage.chain.url, "--contract", stage.contract.address]
    assert "part 0 of its model" in world.run("court demands", study, *demands)
    assert "answered" in world.run("court answer", study, *scene.on("whole", "standby"))
    collected = world.run("court collect", study, *demands, "--key", "standby.key")
    assert "paid 7.5 tokens to" in collected  # half of three deposits
    # The next round's parts are demanded and not answered.
    third = stage.close(stage.parties.first)
    manifest = parse_manifest(stage.store.get(cid_from_sha256(third.closing.record.manifest)))
    shutil.copytree("whole", "damaged", dirs_exist_ok=True)
    (scene.folder / "damaged" / manifest.model.cid).unlink()
    world.run("court challenge", study, *scene.on("damaged", "auditor"), status=1)
    world.run("chain advance", 3600, "--chain", stage.chain.url)
    said = world.run("court challenge", study, *scene.on("damaged", "auditor"), status=1)
    assert "proven in 1 transaction" in said  # the end of a demand
    assert "overturned" in world.run("court challenge", study, *scene.on("damaged", "auditor"))
    reaches(
        world,
        {
            name
            for name, command in COMMAND_OF.items()
            if command.startswith(("court", "claim"))
            and not name.startswith("Court.challenge")
            and name not in TALLY | OF_A_PROOF
        },
    )

    # The standby does not take the first site's contribution: the site registers it itself.
    position = stage.session(stage.parties.standby).position()
    assert (position.round, position.previous) == (3, second.closing)
    delivery, update = stage.collect(position)[site]
    home = site_home(scene, bytes(stage.hospitals[0].account.key))
    task = TrainTask(stage.params, position.previous, 3, b"")
    where = [study, "hospital", "--key", "sponsor.key"]
    assert "has signed nothing for round 3" in world.run("site contribute", *where, status=1)
    KeptAnswers(home.answers).keep(task, delivery, update)
    assert "registered its contribution to round 3" in world.run("site contribute", *where)
    assert "nothing is demanded" in world.run("site answer", *where)
    court = Court(stage.contract)
    court.approve_deposit(stage.parties.standby, stage.study)
    before = (stage.study, 3, position.previous.commitment, site)
    court.demand_contribution(stage.parties.standby, *before, (0, 1))
    assert "showed chunks 0 to 0" in world.run("site answer", *where)
    claim = [study, "hospital", "--store", "whole", "--key", "sponsor.key"]
    assert "paid 25 tokens" in world.run("site claim", *claim)
    assert "nothing is due: 50 tokens" in world.run("site claim", *claim)
    # In a simulation a site is paid at its own address.
    write_private(Path("treasury.key"), stage.hospitals[0].account.key.hex())
    stage.chain.transfer(FAUCET, site, ETHER)
    to = ["--to", FAUCET.address, "--key", "treasury.key"]
    said = world.run("site payout", study, "hospital", *to)
    assert f"rewards of {site} go to {FAUCET.address}" in said
    # Back again, by a signature that the site's own account sends.
    write_private(Path("faucet.key"), FAUCET.key.hex())
    back = ["--to", site]
    signed = world.run("site payout", study, "hospital", *back, "--key", "faucet.key", "--sign")
    sent = ["--key", "treasury.key", "--signature", signed.strip()]
    assert f"rewards of {site} go to {site}" in world.run(
        "site payout", study, "hospital", *back, *sent
    )
    expected = ["contribute", "changePayout"]
    reaches(world, [*(f"WardRound.{one}" for one in expected), "Court.answerContribution"])


def test_commands_of_auditor_and_coordinator_about_a_wrong_round(scene: Scene) -> None:
    world, stage, study = scene.world, scene.stage, hex_of(scene.stage.study)
    first = stage.close(stage.parties.first)
    cheats.shift_a_coordinate(Cheater(stage, stage.parties.first))
    court, standby = Court(stage.contract), stage.parties.standby
    contested = Contested(stage.study, 2, stage.contract.last_closing(stage.study), first.closing)
    court.approve_deposit(standby, stage.study)
    court.open_tally(standby, contested, None)
    court.approve_deposit(standby, stage.study)
    court.commit_challenge(standby, contested, bytes(32))
    said = world.run("court challenge", study, *scene.on("whole", "auditor"), status=1)
    assert "proven in 3 transactions" in said
    on = ["--chain", stage.chain.url, "--contract", stage.contract.address]
    said = world.run("court collect", study, *on, "--key", "standby.key")
    assert said.count("5 tokens go to") == 2
    stage.chain.advance(stage.spec.chain.challenge_seconds)
    said = world.run("court collect", study, *on, "--key", "first.key")
    assert "0.000000000000000007 tokens go to" in said
    reaches(world, OF_A_PROOF)


def site_home(scene: Scene, key: bytes) -> Home:
    stage, folder = scene.stage, scene.folder / "hospital"
    tables = {
        "site": 'name = "hospital"',
        "chain": f'endpoints = ["{stage.chain.url}"]\nchain_id = {DEV_CHAIN_ID}\n'
        f'contract = "{stage.contract.address}"',
        "data": 'name = "patients"\ntrain = "train.npz"\ntest = "test.npz"',
    }
    text = "\n".join(f"[{name}]\n{table}\n" for name, table in tables.items())
    make_home(folder, text, "correct horse", 1_790_000_000, key=key, iterations=2)
    return Home(folder)


# ---------------------------------------------------------------- the faucet


def test_fund_on_a_chain_that_others_share_is_refused(world: World) -> None:
    chain = EmbeddedChain("shared", Genesis(4242, 1_790_000_000, {}))
    try:
        said = world.run("chain fund", FAUCET.address, "--chain", chain.url, status=1)
        assert "chain 4242" in said
        assert "is no development chain" in said
        said = world.run("chain advance", 5, "--chain", chain.url, status=1)
        assert "is no development chain" in said
    finally:
        chain.close()
