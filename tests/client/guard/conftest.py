"""A hospital's home over the prepared network, and a guard that listens in it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import StudyParams, genesis_closing
from wardround.protocol.study import StudySpec
from wardround_client.app.answers import KeptAnswers
from wardround_client.app.client_app import open_home
from wardround_client.app.site import Site
from wardround_client.guard.approvals import Approval, Approvals
from wardround_client.guard.client import GuardClient
from wardround_client.guard.guard import Guard
from wardround_client.guard.log import Line, read_log
from wardround_client.guard.requests import SignedAnswer
from wardround_client.guard.server import GuardServer
from wardround_client.home import Home, make_home
from wardround_client.keystore import keystore_address
from wardround_simulations.network import Network

PASSWORD = "correct horse"
NOW = 1_760_000_000


def settings_text(network: Network, place: int = 0, **changes: str) -> str:
    tables = {
        "site": f'name = "{network.parties[place].name}"',
        "chain": f'endpoints = ["{network.contract.chain.url}"]\n'
        f"chain_id = {network.contract.chain.chain_id}\n"
        f'contract = "{network.contract.address.lower()}"',
        "policy": "",
        "data": 'name = "patients"\ntrain = "train.npz"\ntest = "test.npz"\nrange = [-8.0, 8.0]',
    } | changes
    return "\n".join(f"[{name}]\n{text}\n" for name, text in tables.items())


def make(network: Network, folder: Path, place: int = 0, **changes: str) -> Home:
    party = network.parties[place]
    text = settings_text(network, place, **changes)
    make_home(folder, text, PASSWORD, NOW, key=bytes(party.account.key), iterations=2)
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
    approval = Approval(network.contract.chain.chain_id, contract, params, spec, NOW)
    party = network.parties[place]
    address = keystore_address(home.keystore(home.settings()))
    return Approvals(home.approvals, address).give(approval, bytes(party.account.key))


@contextmanager
def guarded(network: Network, home: Home, place: int = 0, **options: Any) -> Iterator[Guard]:
    """Let a guard listen in a thread of this process."""
    guard = Guard(home, bytes(network.parties[place].account.key), lambda: NOW)
    server = GuardServer(guard, **options)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield guard
    finally:
        server.stop()
        thread.join(20)
        guard.close()
        open_home.cache_clear()
        assert not thread.is_alive()


@dataclass
class Ward:
    """A home with a running guard and an approved study."""

    network: Network
    home: Home
    guard: Guard
    client: GuardClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = GuardClient(self.home.socket, 30)

    @property
    def task(self) -> TrainTask:
        params = self.network.params
        spec = canonical_bytes(self.network.scenario.specification.document())
        return TrainTask(params, genesis_closing(params.initial_model), 1, spec)

    def site(self) -> Site:
        return open_home(str(self.home.folder))

    def drafted(self) -> tuple[dict[str, Any], tuple[bytes, bytes]]:
        """What honest code would ask the guard to sign: the request and its two vectors."""
        asked: list[tuple[dict[str, Any], tuple[bytes, bytes]]] = []

        class Kept(GuardClient):
            def ask(self, kind: Any, request: Any, parts: Any = ()) -> Any:
                if kind is SignedAnswer:
                    asked.append((request, parts))
                    raise _Enough
                return super().ask(kind, request, parts)

        # Elsewhere, so that an answer from before does not spare the training.
        answers = KeptAnswers(self.home.folder / "drafts")
        site = replace(self.site(), guard=Kept(self.client.path), answers=answers)
        with suppress(_Enough):
            site.contribute(self.task, self.network.initial.values)
        return asked[0]

    def log(self) -> list[Line]:
        return list(read_log(self.home.log))

    def refusals(self) -> list[str]:
        return [line["error"] for line in self.log() if line["kind"] == "refused"]

    def signed(self) -> list[Line]:
        return [line for line in self.log() if line["kind"] == "signed"]


class _Enough(Exception):
    """The draft is all that was wanted."""


@pytest.fixture
def home(network: Network, tmp_path: Path) -> Home:
    made = make(network, tmp_path / "home")
    approve(network, made)
    return made


@pytest.fixture
def ward(network: Network, home: Home) -> Iterator[Ward]:
    with guarded(network, home) as guard:
        yield Ward(network, home, guard)
