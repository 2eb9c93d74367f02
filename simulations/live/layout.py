"""Turn a prepared network into one of real parties: homes with keystores, certificates, enrolments.

What `simulations.network` lays out for one process is taken apart: each site gets a hospital's home
with a key under a password, and approves the study; the coordinator gets its certificates.
"""

from __future__ import annotations

import json
import secrets
import shutil
from datetime import datetime
from pathlib import Path

from client.guard.approvals import Approvals
from client.home import Home, make_home
from client.site_approval import propose
from coordinator.home import CoordinatorHome
from coordinator.settings import COORDINATOR_FILE
from learning.datasets import save_table
from ledger.key_file import write_private
from protocol.errors import ScenarioError
from simulations.network import Network, Party, Say
from simulations.scenario import Scenario
from transport.certificates import Address, free_port, issue_server, make_authority
from transport.enrolment import ENROLMENT, enrol

PASSWORDS = "passwords"
LOOPBACK = "127.0.0.1"
#: A development key is worth nothing; a hospital's own keystore takes sixteen times the work.
_SCRYPT_ITERATIONS = 2**14


def check_live(scenario: Scenario) -> None:
    """Check that a scenario can run on real processes.

    Raises:
        ScenarioError: it wants dishonest sites, which a hospital's guard refuses to be.
    """
    if any(row.attack != "label_flip" or row.absent for row in scenario.behaviour):
        reason = "real sites sign through their guards, so attackers need `wardround simulate`"
        raise ScenarioError(scenario.study.name, reason)


def password_file(root: Path, name: str) -> Path:
    """Where the password of a site's keystore is; in a hospital, somebody's head."""
    return root / PASSWORDS / f"{name}.txt"


def make_parties(network: Network, now: datetime, say: Say) -> Address:
    """Make homes of a prepared network's folders.

    Returns:
        Where sites reach the coordinator.
    """
    address = _make_coordinator(network, now)
    (network.folders.root / PASSWORDS).mkdir(mode=0o700)
    for number, party in enumerate(network.parties, 1):
        say(f"making the home of {party.name} ({number} of {len(network.parties)})")
        _make_site(network, party, address, int(now.timestamp()))
    return address


def _make_coordinator(network: Network, now: datetime) -> Address:
    home = CoordinatorHome(network.folders.coordinator)
    home.tls.mkdir()
    home.sites.mkdir()
    make_authority(home.tls, network.scenario.study.name, now)
    issue_server(home.tls, [LOOPBACK, "localhost"], now)
    address = Address(LOOPBACK, free_port())
    settings = home.root / COORDINATOR_FILE
    # A simulated site is away on purpose; a process is away because it was killed.
    text = settings.read_text("utf-8").replace("retry_seconds = 0\n", "retry_seconds = 60\n")
    settings.write_text(text, "utf-8")
    with settings.open("a", encoding="utf-8") as file:
        file.write(
            f'[server]\nhost = "{address.host}"\nport = {address.port}\n'
            f'names = ["{address.host}"]\n'
        )
    return address


def _make_site(network: Network, party: Party, address: Address, now: int) -> None:
    folder = network.folders.sites / party.name
    shutil.rmtree(folder)
    password = secrets.token_urlsafe(18)
    write_private(password_file(network.folders.root, party.name), password + "\n")
    coordinator = CoordinatorHome(network.folders.coordinator)
    chain = network.contract.chain
    tables: dict[str, dict[str, object]] = {
        "site": {"name": party.name},
        "chain": {
            "endpoints": [chain.url],
            "chain_id": chain.chain_id,
            "contract": network.contract.address.lower(),
        },
        "coordinator": {"address": str(address), "root_certificate": "coordinator.pem"},
        "policy": {},
        "data": {"name": party.name, "train": "train.npz", "test": "test.npz"},
    }
    key = bytes(party.account.key)
    make_home(folder, _toml(tables), password, now, key=key, iterations=_SCRYPT_ITERATIONS)
    shutil.copyfile(coordinator.authority, folder / "coordinator.pem")
    save_table(party.data.train, folder / "train.npz")
    save_table(party.data.test, folder / "test.npz")
    enrolment = enrol(folder, party.name, key)
    shutil.copyfile(folder / ENROLMENT, coordinator.sites / f"{enrolment.site}.json")
    # As `wardround site approve` does, without asking.
    home, store = Home(folder), str(network.folders.store)
    proposal = propose(
        home, home.settings(), network.contract, network.study, store, None, None, now
    )
    Approvals(home.approvals, enrolment.address).give(proposal.approval, key)


def _toml(tables: dict[str, dict[str, object]]) -> str:
    """Write flat tables of strings, numbers and lists, whose JSON form is also their TOML form."""
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
