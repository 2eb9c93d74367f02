"""A hospital's home over the prepared network, and a guard that listens in it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import LOG_OF_ONE_ROUND
from tests.coordinator.conftest import Hospitals
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.fixed_point import Int32Vector, vector_bytes
from wardround.protocol.identifiers import hex_of
from wardround.protocol.messages import Measured, TrainReply, TrainTask
from wardround.protocol.record import StudyParams
from wardround.protocol.study import StudySpec
from wardround_client.guard.approvals import Approval, Approvals
from wardround_client.guard.client import GuardClient
from wardround_client.guard.guard import Guard
from wardround_client.guard.log import Line, read_log
from wardround_client.guard.server import GuardServer
from wardround_client.home import Home, make_home
from wardround_client.keystore import keystore_address
from wardround_client.trainer.base import Trainer
from wardround_client.trainer.local import LocalTrainer
from wardround_simulations.network import Network

PASSWORD = "correct horse"
NOW = 1_760_000_000
DATA = 'name = "patients"\ntrain = "train.npz"\ntest = "test.npz"\nrange = [-8.0, 8.0]'
#: Of a home whose tables name people.
NAMED = f'{DATA}\ngroup = "groups"'


def settings_text(network: Network, place: int = 0, **changes: str) -> str:
    if "accept_solvable" not in changes.get("policy", ""):
        # A test's rows are no secret, and exact measures can be compared. Tests of refusals accept
        # nothing; test_measures.py of the attacks has the default noise.
        accepted = f'accept_solvable = ["{network.scenario.study.name}"]'
        changes["policy"] = f"{changes.get('policy', 'measure_noise = 0.0')}\n{accepted}"
    tables = {
        "site": f'name = "{network.parties[place].name}"',
        "chain": f'endpoints = ["{network.contract.chain.url}"]\n'
        f"chain_id = {network.contract.chain.chain_id}\n"
        f'contract = "{network.contract.address.lower()}"',
        "data": DATA,
    } | changes
    return "\n".join(f"[{name}]\n{text}\n" for name, text in tables.items())


def make(
    network: Network,
    folder: Path,
    place: int = 0,
    *,
    key: bytes | None = None,
    secret: bytes | None = None,
    **changes: str,
) -> Home:
    party = network.parties[place]
    text = settings_text(network, place, **changes)
    key = key or bytes(party.account.key)
    make_home(folder, text, PASSWORD, NOW, key=key, secret=secret, iterations=2)
    for name in ("train.npz", "test.npz"):
        shutil.copy(network.folders.sites / party.name / name, folder / name)
    return Home(folder)


def approve(
    network: Network,
    home: Home,
    place: int = 0,
    *,
    spec: StudySpec | None = None,
    params: StudyParams | None = None,
) -> Path:
    spec = spec or network.scenario.specification
    params = params or network.params
    contract = network.contract.address.lower()
    party = network.parties[place]
    rows, chain = len(party.data.train), network.contract.chain.chain_id
    parties = network.contract.created(network.study).parties
    approval = Approval(chain, contract, params, parties, spec, NOW, rows, None)
    address = keystore_address(home.keystore(home.settings()))
    return Approvals(home.approvals, address).give(approval, bytes(party.account.key))


@contextmanager
def guarded(
    network: Network,
    home: Home,
    place: int = 0,
    *,
    trainer: Trainer | None = None,
    **options: Any,
) -> Iterator[Guard]:
    """Let a guard listen in a thread of this process."""
    key = bytes(network.parties[place].account.key)
    guard = Guard(home, key, lambda: NOW, trainer or LocalTrainer())
    server = GuardServer(guard, **options)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield guard
    finally:
        server.stop()
        thread.join(20)
        guard.close()
        assert not thread.is_alive()


@dataclass(frozen=True)
class Asked:
    """What an honest coordinator asks for: a task, and the model that belongs to it."""

    task: TrainTask
    model: Int32Vector

    def request(self, ask: str = "train") -> tuple[dict[str, Any], bytes]:
        """What a courier makes of it: a question to the guard, and the bytes that follow."""
        model = vector_bytes(self.model)
        request = {
            "ask": ask,
            "study": hex_of(self.task.study),
            "round": self.task.round,
            "previous": hex_of(self.task.previous.encode()),
            "model_bytes": len(model),
        }
        return request, model


def asked_of(network: Network) -> Asked:
    """What a coordinator asks for in the round that is open."""
    position = Hospitals(network).session().position()
    spec = canonical_bytes(network.scenario.specification.document())
    task = TrainTask(network.params, position.previous, position.round, spec)
    return Asked(task, position.base.values)


def question(network: Network, ask: str = "train") -> tuple[dict[str, Any], bytes]:
    """What an honest courier asks the guard in the open round: the request and the model."""
    return asked_of(network).request(ask)


@dataclass
class Ward:
    """A home with a running guard and an approved study."""

    network: Network
    home: Home
    guard: Guard
    client: GuardClient = field(init=False)
    asked: Asked = field(init=False)

    def __post_init__(self) -> None:
        self.client, self.asked = GuardClient(self.home.socket, 30), asked_of(self.network)

    @property
    def task(self) -> TrainTask:
        return self.asked.task

    def train(self) -> tuple[TrainReply, Int32Vector]:
        return self.client.train(self.asked.task, self.asked.model)

    def measure(self) -> Measured:
        return self.client.measure(self.asked.task, self.asked.model)

    def log(self) -> list[Line]:
        return list(read_log(self.home.log))

    def refusals(self) -> list[str]:
        return [line["error"] for line in self.log() if line["kind"] == "refused"]

    def signed(self) -> list[Line]:
        return [line for line in self.log() if line["kind"] == "signed"]


@pytest.fixture
def home(network: Network, tmp_path: Path) -> Home:
    made = make(network, tmp_path / "home")
    approve(network, made)
    return made


@pytest.fixture
def ward(network: Network, home: Home) -> Iterator[Ward]:
    with guarded(network, home) as guard:
        yield Ward(network, home, guard)


@pytest.fixture
def experienced(later: Network, tmp_path: Path) -> Home:
    """A home in a study's second round, which had a part in the first."""
    return home_later(later, tmp_path / "experienced")


def home_later(network: Network, folder: Path, **changes: str) -> Home:
    """Make a home with the log of the simulated site that has the same key."""
    home = make(network, folder, **changes)
    approve(network, home)
    shutil.copy(network.folders.root / LOG_OF_ONE_ROUND, home.log)
    return home
