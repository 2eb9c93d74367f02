"""Options of sponsors, coordinators, sites and networks: honoured, or refused by name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.calling import Call
from tests.integration.networks import STUDY_TOML
from tests.lies.options import AS_JSON
from tests.lies.party_options import OF_PARTIES
from tests.lies.probing import ProbedLine, others_of, refused_of
from tests.lies.stages import staged
from wardround.chain.grants import Grants
from wardround.devchain.faucet import DEV_CHAIN_ID, ETHER, FAUCET
from wardround.host.durable import write_private
from wardround.protocol.identifiers import hex_of
from wardround.protocol.messages import TrainTask
from wardround.store.reading_key import write_new_reading_key
from wardround_client.guard.answers import KeptAnswers
from wardround_client.home import Home, make_home
from wardround_simulations.live.run import LiveNetwork
from wardround_simulations.scenario import load_scenario, with_changes
from wardround_simulations.stage import Stage

Words = dict[str, tuple[object, ...]]
STRANGER = "0x" + "ab" * 20


@dataclass(frozen=True)
class Scene:
    """A staged study, and the words of each command that are right in it."""

    stage: Stage
    words: Words
    own: dict[str, Words]

    def line(self, call: Call, command: str) -> ProbedLine:
        """A command line whose every word is right."""
        own, table = self.own.get(command, {}), OF_PARTIES[command]
        words = {name: own.get(name, self.words.get(name)) for name in table}
        given = {name: word for name, word in words.items() if word is not None}
        arguments = tuple(name for name in table if not name.startswith("-"))
        order = [one for one in ORDER if one in arguments]
        assert len(order) == len(arguments), arguments
        return ProbedLine(call, command, given, tuple(order))


#: Of arguments, as commands take them.
ORDER = (
    "file", "home", "study", "reader", "public_key", "tokens", "site", "folder", "enrolment",
    "address", "seconds", "store",
)  # fmt: skip


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("wardround_client.home.SCRYPT_ITERATIONS", 2)
    with staged(tmp_path) as stage:
        chain, ward = stage.chain, stage.contract
        grants = Grants.deploy(chain, stage.parties.sponsor, ward.address)
        reading = write_new_reading_key(tmp_path / "reader.key")
        (tmp_path / "study.toml").write_text(STUDY_TOML, "utf-8")
        (tmp_path / "in-use").mkdir()
        (tmp_path / "in-use" / "file").write_text("mine")
        (tmp_path / "password").write_text("correct horse\n")
        home(tmp_path / "hospital", stage)
        words: Words = {
            "study": (hex_of(stage.study),),
            "--chain": (chain.url,),
            "--contract": (ward.address,),
            "--key": ("sponsor.key",),
            "--grants": (grants.address,),
            "site": (STRANGER,),
            "reader": (STRANGER,),
            "public_key": ("0x" + reading.public.hex(),),
            "folder": ("hospital",),
            "home": ("fl",),
            "address": (STRANGER,),
            "store": ("whole",),
        }
        own: dict[str, Words] = {
            "study create": {
                "file": ("study.toml",),
                "--contract": (ward.address,),
                "--coordinator": (STRANGER,),
                "--store": ("new-store",),
            },
            "study fund": {"tokens": ("0.5",)},
            "study admit": {"--payout": (FAUCET.address,), "--max-weight": (9,)},
            "coordinator init": {
                "--study": words["study"],
                "--chain-id": (DEV_CHAIN_ID,),
                "--host": ("localhost",),
                "--key": ("first.key",),
            },
            "coordinator add-site": {"enrolment": ("enrolment.json",)},
            "site init": {"folder": ("new",), "--password-file": ("password",)},
            "site approve": {"--store": ("whole",)},
            "site claim": {"--store": ("whole",)},
            "site payout": {"--to": (STRANGER,), "--key": ("treasury.key",)},
            "network up": {"folder": ("new",)},
            "chain advance": {"seconds": (1,)},
        }
        yield Scene(stage, words, own)


def home(folder: Path, stage: Stage) -> None:
    """The home of the first site, which has signed nothing here."""
    key = bytes(stage.hospitals[0].account.key)
    tables = {
        "site": 'name = "hospital"',
        "chain": f'endpoints = ["{stage.chain.url}"]\nchain_id = {DEV_CHAIN_ID}\n'
        f'contract = "{stage.contract.address}"',
        "data": 'name = "patients"\ntrain = "train.npz"\ntest = "test.npz"',
    }
    text = "\n".join(f"[{name}]\n{table}\n" for name, table in tables.items())
    make_home(folder, text, "correct horse", 1_790_000_000, key=key, iterations=2)
    write_private(folder.parent / "treasury.key", key.hex())
    stage.chain.transfer(FAUCET, stage.sites[0].address, ETHER)


def test_wrong_words_are_refused_by_name(call: Call, scene: Scene) -> None:
    wrong = []
    for command, table in OF_PARTIES.items():
        if command == "site claim":
            scene.stage.chain.advance(scene.stage.spec.chain.challenge_seconds)
        wrong += refused_of(scene.line(call, command), table)
    assert wrong == [], "\n\n".join(wrong)
    # Refused is refused: none of it was begun, and none of the keys has sent anything.
    assert not any(Path(one).exists() for one in ("fl", "new"))


#: Commands that end well in this order, in the life of one study.
IN_ORDER = (
    "study fund", "study admit", "study remove", "study open", "chain fund", "coordinator init",
    "coordinator bond", "site status", "site contribute", "site answer", "site claim",
    "site payout", "study end", "study refund", "coordinator release",
)  # fmt: skip


def test_right_words_are_honoured(call: Call, scene: Scene) -> None:
    stage, wrong = scene.stage, list[str]()
    position = stage.session(stage.parties.standby).position()
    site = stage.sites[0].address
    delivery, update = stage.collect(position)[site]
    task = TrainTask(stage.params, position.previous, position.round, b"")
    KeptAnswers(Home(Path("hospital")).answers).keep(task, delivery, update)
    for command in IN_ORDER:
        line, table = scene.line(call, command), OF_PARTIES[command]
        if command == "site claim":
            stage.chain.advance(stage.spec.chain.challenge_seconds)
        if command == "site payout":
            wrong += [fault] if (fault := line.probe("--sign", table["--sign"])) else []
            table = {name: probe for name, probe in table.items() if name != "--sign"}
        if command == "study end":
            stage.chain.advance(10**6)
        if command == "coordinator init":
            wrong += faults_of_init(line)
            continue
        before = line.run().good
        if command == "study refund":
            assert scene.line(call, "study fund").run().good  # so that there is more to return
        wrong += others_of(line, table, before)
    assert wrong == [], "\n\n".join(wrong)
    assert {command for command, table in OF_PARTIES.items() if AS_JSON in table.values()} <= {
        *IN_ORDER
    }


def faults_of_init(line: ProbedLine) -> list[str]:
    """What of a coordinator's settings is not what was asked for."""
    for home, name, value in (
        ("fl", "--port", 8444),
        ("second", "--listen", "127.0.0.1"),
        ("third", "--store", "elsewhere"),
    ):
        line.words["home"] = (home,)
        assert line.run(name, (value,)).good
        tables = tomllib.loads(Path(home, "coordinator.toml").read_text("utf-8"))
        found = {
            "--port": tables["server"]["port"],
            "--listen": tables["server"]["host"],
            "--store": tables["coordinator"]["store"],
        }
        usual = {"--port": 8443, "--listen": "0.0.0.0", "--store": "store"}
        if found != {**usual, name: value}:
            return [f"coordinator init {name}: {found}"]
    return []


def test_network_is_given_what_is_asked(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def run(network: LiveNetwork, *words: Any, **options: Any) -> None:
        given.append((network.folder, *words, options))

    monkeypatch.setattr(LiveNetwork, "run", run)
    usual, _ = load_scenario("demo")
    ended = call("network", "up", "new", "--data-dir", "mine", "--keep", "--confidential")
    assert ended.status == 130  # it was stopped, as far as the command knows
    options = {"keep": True, "standbys": 0, "confidential": True}
    assert given[0] == (Path("new"), usual, given[0][2], Path("mine"), options)
    call("network", "up", "new", "--sites", 2, "--rounds", 3, "--seed", 4, "--standbys", 1)
    options = {"keep": False, "standbys": 1, "confidential": False}
    changed = with_changes(usual, sites=2, rounds=3, seed=4)
    assert given[1] == (Path("new"), changed, given[1][2], None, options)
