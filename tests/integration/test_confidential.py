"""A coordinator whose settings name a confidential store: same models, nothing in the clear."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.client_app import close_sites
from coordinator.settings import COORDINATOR_FILE
from ledger.audit import StudyAudit
from ledger.errors import ObjectSealed
from ledger.grants import Grants
from ledger.store import FolderStore
from ledger.store.reading_key import write_new_reading_key
from ledger.store.sealing import is_sealed
from ledger.store.study_store import open_study_store
from simulations.network import Network
from tests.integration.networks import prepared, run
from tests.integration.test_operations import SCENARIO, coordinate_in, models


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with prepared(SCENARIO, tmp_path / "network") as made:
        yield made
        close_sites()


@pytest.mark.slow
def test_coordinator_that_dies_goes_on_in_a_confidential_store(
    network: Network, tmp_path: Path
) -> None:
    sponsor, coordinator = network.keys.sponsor, network.keys.coordinator
    grants = Grants.deploy(network.contract, sponsor)
    folder = network.folders.coordinator
    reading = write_new_reading_key(folder / "reading.key")
    grants.grant(sponsor, network.study, coordinator.address, reading.public)
    plain = FolderStore(network.folders.store)
    before = set(plain.cids())
    address = f"confidential:../store#grants={grants.address}&key=reading.key"
    path = folder / COORDINATOR_FILE
    text = path.read_text()
    assert '"../store"' in text
    path.write_text(text.replace('"../store"', f'"{address}"'))

    coordinate_in(network, folder, until=1)
    coordinate_in(network, folder)

    rounds = network.params.rounds
    undisturbed = run(SCENARIO, tmp_path / "plain")
    assert models(network) == [one["model"] for one in undisturbed.rounds]
    sealed = [cid for cid in plain.cids() if cid not in before and is_sealed(plain.get(cid))]
    # A model a round, and an update of each site; the first model is in the specification.
    assert len(sealed) == rounds * (len(network.parties) + 1)
    store = open_study_store(address, folder, network.contract, network.study)
    assert len(list(StudyAudit(network.contract, network.study, store).rounds())) == rounds
    public = f"confidential:../store#grants={grants.address}"
    blind = open_study_store(public, folder, network.contract, network.study)
    with pytest.raises(ObjectSealed):
        list(StudyAudit(network.contract, network.study, blind).rounds())
