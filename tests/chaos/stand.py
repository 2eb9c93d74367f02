"""Everything that a chaos run needs to stand: chain, store, coordinators, sites with their guards.

Every process talks to the others through links that can be cut, and keeps what it has in a folder
of its own, so that killing it is all that killing a machine would be.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.chaos.bodies import chain_body, coordinator_body, guard_body, site_body
from tests.chaos.links import Link
from tests.chaos.processes import Actor, Troupe
from wardround.chain.chain import Chain, open_chain
from wardround.chain.errors import ChainError
from wardround.chain.ward_round import WardRound
from wardround.devchain.durable_anvil import LEASE_FILE
from wardround.devchain.evm import Genesis
from wardround.protocol.identifiers import SiteAddress
from wardround.transport.ports import free_port
from wardround_client.guard.approvals import Approval, Approvals
from wardround_client.home import make_home
from wardround_coordinator.settings import COORDINATOR_FILE
from wardround_simulations.network import Network, Party, new_folder, new_keys, prepare
from wardround_simulations.run import DEV_CHAIN_ID
from wardround_simulations.scenario import Scenario
from wardround_simulations.sites import SIMULATION_KEY, site_secret

_ETHER = 10**18
#: Loading everything once takes a busy machine its time.
_START_SECONDS = 300.0
_ASK_SECONDS = 60.0
#: Folder of the store's second copy.
SECOND_COPY = "store-copy"
_PASSWORD = "chaos"
#: Of a chain whose blocks are to confirm what is below them.
_BLOCK_SECONDS = 0.5
#: How long the coordinator asks a site again that is away: longer than anything is away here.
_RETRY_SECONDS = 120

T = TypeVar("T")


@dataclass
class Stand:
    """A study on processes of its own.

    Attributes:
        network: as it was prepared.
        troupe: keeps the processes running.
        chain_port: of the chain itself; the links lead there.
        links: by name.
        coordinators: actors by their coordinator's address.
        store: address of the content store, which has two copies.
        confirmations: that everybody waits for.
    """

    network: Network
    troupe: Troupe
    chain: Chain
    contract: WardRound
    links: dict[str, Link] = field(default_factory=dict)
    coordinators: dict[str, Actor] = field(default_factory=dict)
    store: str = ""
    confirmations: int = 0
    sites: list[Actor] = field(default_factory=list)
    guards: list[Actor] = field(default_factory=list)

    def ask(self, question: Callable[[], T]) -> T:
        """Ask the chain, however often it dies meanwhile."""
        deadline = time.monotonic() + _ASK_SECONDS
        while True:
            try:
                return question()
            except (ChainError, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def head(self) -> int:
        """The open round."""
        return self.ask(lambda: self.contract.study(self.network.study).head)

    def active(self) -> str:
        """Address of the active coordinator."""
        return self.ask(lambda: self.contract.study(self.network.study).coordinator)

    @property
    def chain_actor(self) -> Actor:
        """Anvil and the keeper of its journal."""
        return self.troupe.actors["chain"]

    def anvil_pid(self) -> int | None:
        """The process number of anvil itself."""
        try:
            return int((self.network.folders.root / "chain" / LEASE_FILE).read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None

    def homes(self) -> list[Path]:
        """Of the sites, in their order."""
        return [home_of(self.network, party) for party in self.network.parties]

    def endpoint(self, port: int) -> str:
        """The chain at a port, as settings name it."""
        return f"http://127.0.0.1:{port}#confirmations={self.confirmations}"

    def close(self) -> None:
        """End every process and every link."""
        self.troupe.stop()
        for link in self.links.values():
            link.close()
        self.chain.close()


def home_of(network: Network, party: Party) -> Path:
    """Where a site's guard has its key and its log."""
    return network.folders.root / "homes" / party.name


def stand_up(
    scenario: Scenario,
    root: Path,
    standbys: int = 1,
    store: Path | None = None,
    confirmations: int = 0,
) -> Stand:
    """Prepare a study and start its processes.

    Args:
        scenario: the study.
        root: a new folder.
        standbys: coordinators beside the first.
        store: where objects go, instead of the folder's own store.
        confirmations: that coordinators and sites wait for; blocks then come by themselves.
    """
    folders = new_folder(root)
    (root / "logs").mkdir()
    if store is not None:
        # A relative link would start at its own folder, not at ours.
        folders.store.symlink_to(store.absolute(), target_is_directory=True)
    keys = new_keys(folders, standbys)
    balances = dict.fromkeys(keys.addresses, 10_000 * _ETHER)
    genesis = Genesis(DEV_CHAIN_ID, int(time.time()), balances)
    troupe = Troupe()
    port = free_port()
    pace = _BLOCK_SECONDS if confirmations else 0.0
    body = (root / "chain", genesis, port, pace)
    troupe.add(Actor("chain", chain_body, body, root / "logs" / "chain.log"))
    try:
        chain = _opened(f"http://127.0.0.1:{port}")
        network = prepare(scenario, folders, keys, chain, data_dir=None)
        stand = Stand(network, troupe, chain, network.contract, confirmations=confirmations)
        second = root / SECOND_COPY
        shutil.copytree(folders.store.resolve(), second)
        stand.store = f"{folders.store.absolute().as_uri()},{second.absolute().as_uri()}"
        _start_sites(stand, port)
        _start_coordinators(stand, port)
    except BaseException:
        troupe.stop()
        raise
    return stand


def _start_sites(stand: Stand, chain_port: int) -> None:
    network, logs = stand.network, stand.network.folders.root / "logs"
    for party in network.parties:
        link = stand.links[f"{party.name} to chain"] = Link(chain_port)
        home = home_of(network, party)
        _make_home(network, party, home, stand.endpoint(link.port))
        guard = Actor(f"{party.name}-guard", guard_body, (home, _PASSWORD), logs / "guards.log")
        port = free_port()
        stand.links[f"coordinators to {party.name}"] = Link(port)
        site = Actor(party.name, site_body, (home, port), logs / f"{party.name}.log")
        stand.guards.append(stand.troupe.add(guard))
        stand.sites.append(stand.troupe.add(site))


def _make_home(network: Network, party: Party, home: Path, endpoint: str) -> None:
    contract = network.contract
    text = "\n".join(
        [
            "[site]",
            f'name = "{party.name}"',
            "[chain]",
            f'endpoints = ["{endpoint}"]',
            f"chain_id = {contract.chain.chain_id}",
            f'contract = "{contract.address.lower()}"',
            "[policy]",
            f'accept_solvable = ["{network.scenario.study.name}"]',
            "[data]",
            'name = "patients"',
            'train = "train.npz"',
            'test = "test.npz"',
            "",
        ]
    )
    now = int(time.time())
    # Two rounds of scrypt: the key is worth nothing, and its guard is started a hundred times.
    make_home(
        home,
        text,
        _PASSWORD,
        now,
        key=bytes(party.account.key),
        # As in the undisturbed run, or the models would be others.
        secret=site_secret(SIMULATION_KEY, party.name),
        iterations=2,
    )
    for name in ("train.npz", "test.npz"):
        shutil.copy(network.folders.sites / party.name / name, home / name)
    approval = Approval(
        contract.chain.chain_id,
        contract.address.lower(),
        network.params,
        contract.created(network.study).parties,
        network.scenario.specification,
        now,
        len(party.data.train),
        None,
    )
    address = SiteAddress(party.account.address)
    Approvals(home / "approvals", address).give(approval, bytes(party.account.key))


def _start_coordinators(stand: Stand, chain_port: int) -> None:
    network = stand.network
    folders = network.folders
    ports = [stand.links[f"coordinators to {party.name}"].port for party in network.parties]
    for number, account in enumerate(network.keys.coordinators):
        folder = folders.standby(number) if number else folders.coordinator
        link = stand.links[f"{folder.name} to chain"] = Link(chain_port)
        settings = folder / COORDINATOR_FILE
        text = settings.read_text("utf-8")
        text = text.replace(f"http://127.0.0.1:{chain_port}", stand.endpoint(link.port))
        text = text.replace('store = "../store"', f'store = "{stand.store}"')
        text = text.replace("retry_seconds = 0", f"retry_seconds = {_RETRY_SECONDS}")
        settings.write_text(text, "utf-8")
        log = folders.root / "logs" / f"{folder.name}.log"
        actor = Actor(folder.name, coordinator_body, (folder, ports), log)
        stand.coordinators[account.address] = stand.troupe.add(actor)


def _opened(url: str) -> Chain:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return open_chain(url)
        except ChainError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
