"""Turn a prepared network into one of real parties: homes with keystores, certificates, enrolments.

What `wardround_simulations.network` lays out for one process is taken apart: each site gets a
hospital's home with a key under a password, and approves the study; the coordinator gets its
certificates.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from wardround.audit.folders import ROUNDS_FILE
from wardround.host.durable import write_private
from wardround.learning.datasets import save_table
from wardround.protocol.errors import ScenarioError
from wardround.transport.certificates import Address, issue_server, make_authority
from wardround.transport.enrolment import ENROLMENT, enrol
from wardround.transport.ports import free_port
from wardround_client.guard.approvals import Approvals
from wardround_client.home import Home, make_home
from wardround_client.site_approval import propose
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.settings import COORDINATOR_FILE
from wardround_simulations.network import Network, Party, Say
from wardround_simulations.scenario import Scenario

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


@dataclass(frozen=True)
class Seat:
    """A coordinator of the network.

    Attributes:
        folder: its home.
        key: the address that the study names.
        address: where sites reach it.
    """

    folder: Path
    key: str
    address: Address

    @property
    def certificate(self) -> str:
        """The name of its root certificate in a site's home."""
        return f"{self.folder.name}.pem"


def make_parties(network: Network, now: datetime, say: Say) -> list[Seat]:
    """Make homes of a prepared network's folders.

    Returns:
        The coordinators, in the order in which they take over.
    """
    folders = network.folders
    seats = [
        _make_coordinator(
            network,
            folders.standby(number) if number else folders.coordinator,
            account.address,
            now,
        )
        for number, account in enumerate(network.keys.coordinators)
    ]
    (network.folders.root / PASSWORDS).mkdir(mode=0o700)
    for number, party in enumerate(network.parties, 1):
        say(f"making the home of {party.name} ({number} of {len(network.parties)})")
        _make_site(network, party, seats, int(now.timestamp()))
    return seats


def _make_coordinator(network: Network, folder: Path, key: str, now: datetime) -> Seat:
    home = CoordinatorHome(folder)
    home.tls.mkdir()
    home.sites.mkdir()
    make_authority(home.tls, network.scenario.study.name, now)
    issue_server(home.tls, [LOOPBACK, "localhost"], now)
    address = Address(LOOPBACK, free_port())
    settings = home.root / COORDINATOR_FILE
    # A simulated site is away on purpose; a process is away because it was killed.
    text = settings.read_text("utf-8").replace("retry_seconds = 0\n", "retry_seconds = 60\n")
    if folder != network.folders.coordinator:
        # As on a machine of its own: what another has told of rounds is not there.
        text = text.replace(f'"../{ROUNDS_FILE}"', f'"{ROUNDS_FILE}"')
    settings.write_text(text, "utf-8")
    with settings.open("a", encoding="utf-8") as file:
        file.write(
            f'[server]\nhost = "{address.host}"\nport = {address.port}\n'
            f'names = ["{address.host}"]\n'
        )
    return Seat(folder, key, address)


def _make_site(network: Network, party: Party, seats: Sequence[Seat], now: int) -> None:
    folder = network.folders.sites / party.name
    shutil.rmtree(folder)
    password = secrets.token_urlsafe(18)
    write_private(password_file(network.folders.root, party.name), password + "\n")
    chain = network.contract.chain
    tables: dict[str, dict[str, object]] = {
        "site": {"name": party.name},
        "chain": {
            "endpoints": [chain.url],
            "chain_id": chain.chain_id,
            "contract": network.contract.address.lower(),
        },
        "coordinator": _seat_table(seats[0]),
        "policy": {},
        "data": {"name": party.name, "train": "train.npz", "test": "test.npz"},
    }
    key = bytes(party.account.key)
    text = _toml(tables.items()) + _toml(("[standby]", _seat_table(one)) for one in seats[1:])
    make_home(folder, text, password, now, key=key, iterations=_SCRYPT_ITERATIONS)
    save_table(party.data.train, folder / "train.npz")
    save_table(party.data.test, folder / "test.npz")
    enrolment = enrol(folder, party.name, key)
    for seat in seats:
        coordinator = CoordinatorHome(seat.folder)
        shutil.copyfile(coordinator.authority, folder / seat.certificate)
        shutil.copyfile(folder / ENROLMENT, coordinator.sites / f"{enrolment.site}.json")
    # As `wardround site approve` does, without asking.
    home, store = Home(folder), str(network.folders.store)
    proposal = propose(
        home, home.settings(), network.contract, network.study, store, None, None, now
    )
    Approvals(home.approvals, enrolment.address).give(proposal.approval, key)


def _seat_table(seat: Seat) -> dict[str, object]:
    return {"address": str(seat.address), "root_certificate": seat.certificate}


def _toml(tables: Iterable[tuple[str, dict[str, object]]]) -> str:
    """Write flat tables of strings, numbers and lists, whose JSON form is also their TOML form."""
    lines = []
    for name, table in tables:
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "".join(line + "\n" for line in lines)
