"""Turn a prepared network into one of real parties: certificates, addresses, enrolments.

The homes of the sites are those of every simulation (`wardround_simulations.sites`). Here each is
connected with its coordinators, who get their certificates.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from wardround.audit.folders import ROUNDS_FILE
from wardround.protocol.documents import toml_of
from wardround.protocol.errors import ScenarioError
from wardround.transport.certificates import Address, issue_server, make_authority
from wardround.transport.enrolment import ENROLMENT, enrol
from wardround.transport.ports import free_port
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.settings import COORDINATOR_FILE
from wardround_simulations.network import Network
from wardround_simulations.scenario import Scenario
from wardround_simulations.sites import Party

LOOPBACK = "127.0.0.1"


def check_live(scenario: Scenario) -> None:
    """Check that a scenario can run on real processes.

    Raises:
        ScenarioError: it wants dishonest sites, which a hospital's guard refuses to be.
    """
    if any(row.attack != "label_flip" or row.absent for row in scenario.behaviour):
        reason = "real sites sign through their guards, so attackers need `wardround simulate`"
        raise ScenarioError(scenario.study.name, reason)


@dataclass(frozen=True)
class LiveCoordinator:
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


def make_parties(network: Network, now: datetime) -> list[LiveCoordinator]:
    """Connect the parties of a prepared network.

    Returns:
        The coordinators, in the order in which they take over.
    """
    folders = network.folders
    coordinators = [
        _make_coordinator(
            network,
            folders.standby(number) if number else folders.coordinator,
            account.address,
            now,
        )
        for number, account in enumerate(network.keys.coordinators)
    ]
    for party in network.parties:
        _connect_site(network, party, coordinators)
    return coordinators


def _make_coordinator(network: Network, folder: Path, key: str, now: datetime) -> LiveCoordinator:
    home = CoordinatorHome(folder)
    home.tls.mkdir()
    home.sites.mkdir()
    make_authority(home.tls, network.scenario.study.name, now)
    issue_server(home.tls, [LOOPBACK, "localhost"], now)
    address = Address(LOOPBACK, free_port())
    settings = home.folder / COORDINATOR_FILE
    # A simulated site is offline on purpose; a process is offline because it was killed.
    text = settings.read_text("utf-8").replace("retry_seconds = 0\n", "retry_seconds = 60\n")
    if folder != network.folders.coordinator:
        # As on a machine of its own: another coordinator's rounds are not there.
        text = text.replace(f'"../{ROUNDS_FILE}"', f'"{ROUNDS_FILE}"')
    settings.write_text(text, "utf-8")
    with settings.open("a", encoding="utf-8") as file:
        file.write(
            f'[server]\nhost = "{address.host}"\nport = {address.port}\n'
            f'names = ["{address.host}"]\n'
        )
    return LiveCoordinator(folder, key, address)


def _connect_site(network: Network, party: Party, coordinators: Sequence[LiveCoordinator]) -> None:
    """Write the coordinators into a site's settings, and give each of them its enrolment."""
    home = network.home(party)
    tables = [("coordinator", _coordinator_table(coordinators[0]))]
    tables += [("[standby]", _coordinator_table(one)) for one in coordinators[1:]]
    with home.settings_file.open("a", encoding="utf-8") as file:
        file.write(toml_of(tables))
    enrolment = enrol(home.folder, party.name, bytes(party.account.key))
    for one in coordinators:
        coordinator = CoordinatorHome(one.folder)
        shutil.copyfile(coordinator.authority, home.folder / one.certificate)
        shutil.copyfile(home.folder / ENROLMENT, coordinator.sites / f"{enrolment.site}.json")


def _coordinator_table(coordinator: LiveCoordinator) -> dict[str, object]:
    return {"address": str(coordinator.address), "root_certificate": coordinator.certificate}
