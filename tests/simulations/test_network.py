from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from tests.integration.networks import FEATURES, prepared, small_scenario
from wardround.audit.finished import read_network
from wardround.chain.study_token import StudyToken
from wardround.host.key_file import read_key
from wardround.learning.datasets import load_dataset
from wardround.learning.datasets.table import load_table
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.errors import ScenarioError, SpecificationError
from wardround.protocol.identifiers import SiteAddress, hex_of
from wardround.store import FolderStore
from wardround_client.guard.approvals import Approvals
from wardround_client.keystore import open_keystore
from wardround_client.password import read_password_file
from wardround_client.settings import PreparedTables
from wardround_coordinator.settings import load_coordinator_settings
from wardround_simulations.attackers import BEHAVIOUR_FILE
from wardround_simulations.network import WEIGHT_CAP, Folders, new_folder
from wardround_simulations.scenario import Behaviour
from wardround_simulations.sites import password_file


@pytest.mark.parametrize("what", ["a file in it", "a folder in it", "a file itself"])
def test_folder_when_not_empty_is_refused_and_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "mine"
    if what == "a file itself":
        path.write_text("precious")
    else:
        path.mkdir()
        inner = path / "precious"
        inner.mkdir() if what == "a folder in it" else inner.write_text("precious")
    before = sorted(str(one) for one in tmp_path.rglob("*"))
    with pytest.raises(ScenarioError, match="not an empty folder: name another one"):
        new_folder(path)
    assert sorted(str(one) for one in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("there", [True, False])
def test_folder_when_empty_or_missing_is_taken(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "deep" / "mine"
    if there:
        path.mkdir(parents=True)
    folders = new_folder(path)
    assert folders.sites.is_dir()
    assert folders.coordinator.is_dir()


def test_network_when_prepared_is_what_its_parties_find(tmp_path: Path) -> None:
    scenario = small_scenario(chain={"bond": 500})
    with prepared(scenario, tmp_path / "network") as network:
        contract, study, folders = network.contract, network.study, network.folders
        state = contract.study(study)
        assert (state.head, state.site_count, state.min_sites) == (1, 3, 2)
        assert (state.funded, state.bond) == (3 * 1000, 500)
        assert contract.seat(study, network.keys.coordinator.address).bonded
        token = StudyToken(contract.chain, read_network(folders.root).token)
        assert token.balance_of(contract.escrow_of(study)) == 3 * 1000 + 500
        store = FolderStore(folders.store)
        specification = store.get(cid_from_sha256(network.params.specification))
        assert specification == canonical_bytes(scenario.specification.document())
        layout = network.initial.layout
        assert json.loads((folders.root / "layout.json").read_text()) == layout.document()
        assert layout.parameter_count == network.params.parameter_count == 7

        coordinator = load_coordinator_settings(folders.coordinator)
        assert coordinator.study_id == study
        assert coordinator.study.sites == 3
        key = read_key(folders.coordinator / coordinator.coordinator.key_file)
        assert key.address == network.keys.coordinator.address

        dataset = load_dataset(scenario.data.name, scenario.data.arguments)
        for party, site in zip(network.parties, dataset.sites, strict=True):
            home = network.home(party)
            folder, settings = home.folder, home.settings()
            assert settings.site.name == party.name
            password = read_password_file(password_file(folders.root, party.name))
            key = open_keystore(home.keystore(settings), password)
            assert key == bytes(party.account.key)
            approval = Approvals(home.approvals, SiteAddress(party.account.address)).of(study)
            assert approval.params == network.params
            assert isinstance(settings.data, PreparedTables)
            train = load_table(folder / settings.data.train)
            np.testing.assert_array_equal(train.features, site.train.features)
            np.testing.assert_array_equal(train.labels, site.train.labels)
            assert len(load_table(folder / settings.data.test)) == len(site.test)
            address = SiteAddress(party.account.address)
            assert contract.site(study, address).max_weight == WEIGHT_CAP
            assert not (folder / BEHAVIOUR_FILE).exists()


def test_keys_when_written_can_be_read_by_their_owner_alone(tmp_path: Path) -> None:
    with prepared(small_scenario(), tmp_path / "network") as network:
        root = network.folders.root
        found = [*root.rglob("*.key"), *root.rglob("keystore.json"), *root.glob("passwords/*")]
        found += root.rglob("training.secret")
        # Of sponsor, coordinator and simulation; of each site keystore, password and secret.
        assert len(found) == 3 + 3 * 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_network_file_when_written_holds_no_key(tmp_path: Path) -> None:
    with prepared(small_scenario(), tmp_path / "network") as network:
        file = read_network(network.folders.root)
        assert file.study == hex_of(network.study)
        assert file.contract == network.contract.address.lower()
        assert file.sites == {
            party.name: party.account.address.lower() for party in network.parties
        }
        assert file.journal is None, "the run is not finished"
        public = [path for path in network.folders.root.rglob("*") if path.suffix != ".key"]
        keys = [path.read_text().strip() for path in network.folders.root.rglob("*.key")]
        keys += [bytes(party.account.key).hex() for party in network.parties]
        for path in public:
            if path.is_file():
                data = path.read_bytes().lower()
                assert not any(key.encode() in data for key in keys), path


def test_behaviour_when_a_site_has_one_is_in_its_folder(tmp_path: Path) -> None:
    rows = [
        {"site": "site-1", "attack": "label_flip"},
        {"site": "site-3", "attack": "scaled", "factor": 7, "absent": [2]},
    ]
    scenario = small_scenario(behaviour=rows)
    with prepared(scenario, tmp_path / "network") as network:
        folders = network.folders
        for row in scenario.behaviour:
            text = (folders.sites / row.site / BEHAVIOUR_FILE).read_text("utf-8")
            assert Behaviour.model_validate_json(text) == row
        assert not (folders.sites / "site-2" / BEHAVIOUR_FILE).exists()
        honest = load_dataset(scenario.data.name, scenario.data.arguments).sites
        flipped = load_table(folders.sites / "site-1" / "train.npz")
        np.testing.assert_array_equal(flipped.labels, 1 - honest[0].train.labels)
        same = load_table(folders.sites / "site-3" / "train.npz")
        np.testing.assert_array_equal(same.labels, honest[2].train.labels)


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"behaviour": [{"site": "site-9", "attack": "nan"}]}, "no site is called 'site-9'"),
        ({"aggregation": {"min_sites": 4}}, "3 sites are fewer than min_sites, 4"),
    ],
)
def test_scenario_when_it_does_not_fit_its_data_is_refused(
    tmp_path: Path, tables: dict[str, object], reason: str
) -> None:
    with (
        pytest.raises(ScenarioError, match=reason),
        prepared(small_scenario(**tables), tmp_path / "network"),
    ):
        pytest.fail("it was prepared")


def test_scenario_when_it_has_more_sites_than_can_be_ranked_is_refused(tmp_path: Path) -> None:
    rule = {"rule": "multi_krum", "hostile": 1, "min_sites": 3}
    data = {"arguments": {"sites": 236, "rows": 4, "test_rows": 2, "features": FEATURES}}
    with (
        pytest.raises(SpecificationError, match="236 sites are too many for multi_krum"),
        prepared(small_scenario(aggregation=rule, data=data), tmp_path / "network"),
    ):
        pytest.fail("it was prepared")


def test_folders_when_named_are_below_the_root() -> None:
    folders = Folders(Path("root"))
    names = (folders.sites, folders.coordinator, folders.store, folders.journal, folders.rounds)
    assert all(path.parent == Path("root") for path in (*names, folders.network))
