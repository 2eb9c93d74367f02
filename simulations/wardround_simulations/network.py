"""Lay out a whole network on one machine: homes, keys, tables, a chain with a funded study.

A network's folder holds the home of each site (``sites/NAME``), one for the coordinator, the
content store, and what the chain and the study need. The same apps run on it under every engine,
and as processes of their own (`wardround_simulations.live`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from wardround.audit.finished import run_store
from wardround.audit.folders import ROUNDS_FILE, Folders
from wardround.chain.chain import Chain
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.host.durable import write_private
from wardround.host.key_file import write_new_key
from wardround.learning.datasets import load_dataset
from wardround.learning.datasets.base import Dataset
from wardround.learning.initial import InitialModel
from wardround.learning.models import check_fits
from wardround.learning.trial import try_model
from wardround.protocol.documents import toml_of
from wardround.protocol.errors import ScenarioError
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.protocol.record import StudyParams
from wardround.protocol.study import ChainSpec
from wardround.protocol.version import PROTOCOL
from wardround.protocol.whole_evidence import check_provable
from wardround.store import Store
from wardround.store.study_store import open_study_store
from wardround_client.errors import Refusal
from wardround_client.guard.log import Now
from wardround_client.home import Home
from wardround_client.settings import PolicyTable
from wardround_coordinator.settings import COORDINATOR_FILE
from wardround_coordinator.sponsoring import fund_new_study, publish
from wardround_simulations.attackers import poisoned, write_behaviour
from wardround_simulations.confidential import (
    SPONSOR_READING_KEY,
    confidential_address,
    give_grants,
)
from wardround_simulations.scenario import Scenario
from wardround_simulations.sites import SIMULATION_KEY, Party, approve, guarded, make_site

#: What a site may weigh: more rows than any simulated hospital has.
WEIGHT_CAP = 1_000_000

#: Callback: the next step, in a few words.
OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class Keys:
    """Accounts that send transactions. Sites never do."""

    sponsor: LocalAccount
    coordinator: LocalAccount
    #: In the order in which they take over.
    standbys: tuple[LocalAccount, ...] = ()

    @property
    def coordinators(self) -> list[LocalAccount]:
        """The coordinators, the active one first."""
        return [self.coordinator, *self.standbys]

    @property
    def addresses(self) -> list[str]:
        """Accounts that need money for gas."""
        return [self.sponsor.address, *(one.address for one in self.coordinators)]


@dataclass(frozen=True)
class Network:
    """A network that is ready for its first round."""

    folders: Folders
    scenario: Scenario
    contract: WardRound
    study: StudyId
    params: StudyParams
    parties: tuple[Party, ...]
    keys: Keys
    initial: InitialModel
    #: Address of the Grants contract, where the store is confidential.
    grants: str | None = None

    def home(self, party: Party) -> Home:
        """A site's home."""
        return Home(self.folders.sites / party.name)

    def guarded(self, now: Now, *, at_sockets: bool = False) -> AbstractContextManager[None]:
        """Guard all sites for a block; see `wardround_simulations.sites.guarded`."""
        homes = {party.name: self.home(party) for party in self.parties}
        return guarded(homes, self.parties, now, at_sockets=at_sockets)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Open the store as the sponsor reads it."""
        reading = None if self.grants is None else self.folders.root / SPONSOR_READING_KEY
        where = (self.folders, self.contract, self.study, self.grants, reading)
        with closing(run_store(*where)) as opened:
            yield opened


def new_folder(path: Path) -> Folders:
    """Make an empty folder for a network.

    Raises:
        ScenarioError: something is in it already.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ScenarioError(str(path), "it is not an empty folder: name another one")
    folders = Folders(path)
    folders.sites.mkdir(parents=True)
    folders.coordinator.mkdir()
    return folders


def new_keys(folders: Folders, standbys: int = 0) -> Keys:
    """Make the keys of the sponsor, the first coordinator and its standbys."""
    others = []
    for number in range(1, standbys + 1):
        folders.standby(number).mkdir()
        others.append(write_new_key(folders.standby(number) / "coordinator.key"))
    return Keys(
        sponsor=write_new_key(folders.root / "sponsor.key"),
        coordinator=write_new_key(folders.coordinator / "coordinator.key"),
        standbys=tuple(others),
    )


def prepare(
    scenario: Scenario,
    folders: Folders,
    keys: Keys,
    chain: Chain,
    *,
    data_dir: Path | None,
    on_progress: OnProgress = lambda words: None,
    retry_seconds: int = 0,
    confidential: bool = False,
    simulation_key: str = SIMULATION_KEY,
) -> Network:
    """Write every party's folder, deploy the contract, and create, fund and open the study.

    Args:
        data_dir: folder with the user's own copies of data files.
        on_progress: called before each step.
        retry_seconds: how long a coordinator asks an offline site again; 0 where a simulated site
            is offline on purpose.
        confidential: encrypt updates and models in the store; sponsor, coordinators and an
            auditor may read them.
        simulation_key: of which the sites' secrets are made.
    Raises:
        DataError: the data set cannot be had or divided as asked.
        LearningError: the model cannot be built, or fails when it is tried on made-up rows.
        ScenarioError: a behaviour names no site, or there are too few sites.
        SpecificationError: there are too many sites for the rule.
    """
    dataset = load_dataset(scenario.data.name, scenario.data.arguments, data_dir=data_dir)
    check_fits(scenario.model, dataset.shape, dataset.classes)
    parties = _parties(scenario, dataset)
    check_provable(scenario.rule.id, len(parties), scenario.study.name)
    on_progress("trying the model")
    scenario, initial = try_model(scenario)
    spec = scenario.specification
    write_private(folders.simulation_key, simulation_key + "\n")
    on_progress("deploying the contract")
    token = StudyToken.deploy(
        chain,
        keys.sponsor,
        spec.budget + (1 + len(keys.coordinators)) * _stake(spec.chain, len(parties)),
    )
    contract = WardRound.deploy(chain, keys.sponsor)
    on_progress("creating and funding the study")
    coordinators = [one.address for one in keys.coordinators]
    params = fund_new_study(contract, token, keys.sponsor, spec, initial, coordinators)
    study = params.study_id
    sites = [party.account.address for party in parties]
    accounts = keys.sponsor, keys.coordinators
    begin_study(contract, token, params, *accounts, sites, WEIGHT_CAP, on_progress)
    grants, address = None, "../store"
    if confidential:
        on_progress("recording on chain who may read")
        grants = give_grants(contract, study, folders, keys.sponsor, keys.coordinators)
        address = confidential_address(address, grants)
    # Any coordinator may write; the first keeps what the study begins with.
    where = (address, folders.coordinator, contract, study, keys.coordinator)
    with closing(open_study_store(*where)) as store:
        publish(spec, initial, store)
    now = chain.block().timestamp
    for party in parties:
        # A simulation's rows are no secret.
        accepted = {"accept_solvable": [scenario.study.name]}
        policy = scenario.policy.get(party.name, PolicyTable()).model_copy(update=accepted)
        home = make_site(folders, party, contract, policy, now, simulation_key)
        if behaviour := scenario.behaviour_of(party.name):
            write_behaviour(home, behaviour)
        try:
            approve(home, party, contract, study, str(folders.store), now)
        except Refusal as refusal:
            on_progress(f"{party.name} does not approve the study: {refusal.words}")
    for number in range(len(keys.coordinators)):
        folder = folders.standby(number) if number else folders.coordinator
        _write_coordinator(folder, address, contract, study, len(parties), retry_seconds)
    network = Network(
        folders,
        scenario,
        contract,
        study,
        params,
        parties,
        keys,
        initial,
        None if grants is None else grants.address,
    )
    _write_network(network, token)
    return network


def _parties(scenario: Scenario, dataset: Dataset) -> tuple[Party, ...]:
    names = [site.name for site in dataset.sites]
    for name in [*(behaviour.site for behaviour in scenario.behaviour), *scenario.policy]:
        if name not in names:
            raise ScenarioError(
                scenario.study.name, f"no site is called {name!r}: there are {', '.join(names)}"
            )
    if len(names) < scenario.aggregation.min_sites:
        raise ScenarioError(
            scenario.study.name,
            f"{len(names)} sites are fewer than min_sites, {scenario.aggregation.min_sites}",
        )
    ends = scenario.data.range
    if scenario.privacy is not None and ends is None:
        raise ScenarioError(
            scenario.study.name,
            "a private study needs a range that does not follow from the rows: write range in "
            "[data], such as range = [-5.0, 5.0]",
        )
    parties = []
    for site in dataset.sites:
        if ends is not None:
            site = replace(site, train=site.train.within(*ends), test=site.test.within(*ends))
        rows = poisoned(site, scenario.behaviour_of(site.name), dataset.classes)
        parties.append(Party(site.name, Account.create(), rows, ends))
    return tuple(parties)


def begin_study(
    contract: WardRound,
    token: StudyToken,
    params: StudyParams,
    sponsor: LocalAccount,
    coordinators: Sequence[LocalAccount],
    sites: Sequence[str],
    max_weight: int,
    on_progress: OnProgress = lambda words: None,
) -> None:
    """Post the coordinators' bonds out of the sponsor's tokens, admit the sites, open round 1.

    Each coordinator also has a deposit for each site, to demand what the site registers.
    """
    study = params.study_id
    for coordinator in coordinators:
        stake = params.bond + len(sites) * params.deposit
        token.transfer(sponsor, coordinator.address, stake)
        token.approve(coordinator, contract.address, params.bond)
        contract.post_bond(coordinator, study)
    for number, site in enumerate(sites, 1):
        on_progress(f"admitting site {number} of {len(sites)}")
        # In a simulation a site is paid at its own address; a hospital names a treasury.
        contract.admit_site(sponsor, study, site, site, max_weight)
    contract.open_study(sponsor, study)


def _stake(chain: ChainSpec, sites: int) -> int:
    return int(chain.bond) + sites * int(chain.deposit)


def _write_coordinator(
    folder: Path,
    store: str,
    contract: WardRound,
    study: StudyId,
    sites: int,
    retry_seconds: int,
) -> None:
    tables = {
        "coordinator": {
            "key_file": "coordinator.key",
            "store": store,
            "rounds_file": f"../{ROUNDS_FILE}",
            "retry_seconds": retry_seconds,
        },
        "study": {
            "chain": contract.chain.url,
            "chain_id": contract.chain.chain_id,
            "contract": contract.address.lower(),
            "id": hex_of(study),
            "sites": sites,
        },
    }
    (folder / COORDINATOR_FILE).write_text(toml_of(tables.items()), encoding="utf-8")


def _write_network(network: Network, token: StudyToken) -> None:
    value = {
        "format": "wardround-network/1",
        "protocol": PROTOCOL,
        "scenario": network.scenario.study.name,
        "chain_id": network.contract.chain.chain_id,
        "chain": network.contract.chain.url,
        "contract": network.contract.address.lower(),
        "token": token.address.lower(),
        "study": hex_of(network.study),
        "sites": {party.name: party.account.address.lower() for party in network.parties},
    }
    if network.grants is not None:
        value["grants"] = network.grants.lower()
    network.folders.network.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    layout = json.dumps(network.initial.layout.document(), indent=1)
    network.folders.layout.write_text(layout + "\n", encoding="utf-8")
