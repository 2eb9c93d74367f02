"""What docs/operations.md tells people to do, done: move, restore, lose a key, add a standby."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from tests.integration.networks import prepared, run, small_scenario
from wardround.audit.audit import StudyAudit
from wardround.host.key_file import write_new_key
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import hex_of
from wardround.store import FolderStore
from wardround.store.errors import ObjectMissing
from wardround_coordinator.errors import CoordinatorError, StoodDown
from wardround_coordinator.rounds_file import read_rounds
from wardround_coordinator.server_app import coordinate
from wardround_simulations.client_app import app as client_app
from wardround_simulations.engines import run_in_process
from wardround_simulations.network import Network

ROUND_SECONDS, GRACE_SECONDS = 60, 12
SCENARIO = small_scenario(
    chain={
        "round_seconds": ROUND_SECONDS,
        "grace_seconds": GRACE_SECONDS,
        "registration_seconds": 12,
        "bond": "50",
    }
)


class PowerCut(Exception):
    """The coordinator's machine dies."""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with prepared(SCENARIO, tmp_path / "network", standbys=1) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The models of the same study when nothing happens."""
    results = run(SCENARIO, tmp_path_factory.mktemp("undisturbed") / "run")
    return [one["model"] for one in results.rounds]


def coordinate_in(
    network: Network,
    folder: Path,
    *,
    until: int = 99,
    standby: bool = False,
    say: Callable[[str], None] = lambda words: None,
) -> None:
    """Run a coordinator from a folder; its machine dies after it reported a round."""

    def on_summary(summary: dict[str, Any]) -> None:
        if summary["round"] == until:
            raise PowerCut

    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        coordinate(folder, grid, on_summary, standby=standby, say=say)

    config = {"network": str(network.folders.root)}
    run = partial(run_in_process, server_app, client_app, [{} for _ in network.parties], config)
    if until > network.params.rounds:
        run()
        return
    with pytest.raises(PowerCut):
        run()


def models(network: Network) -> list[str]:
    closings = network.contract.closings(network.study)
    return [hex_of(closing.record.model) for _, closing in closings]


def audited(network: Network, store: Path) -> int:
    return len(list(StudyAudit(network.contract, network.study, FolderStore(store)).rounds()))


def test_coordinator_when_moved_goes_on_with_the_same_models(
    network: Network, tmp_path: Path, undisturbed: list[str]
) -> None:
    old = network.folders.coordinator
    coordinate_in(network, old, until=1)
    new = tmp_path / "elsewhere" / "fl"
    shutil.copytree(old, new)
    shutil.copytree(network.folders.store, new.parent / "store")
    shutil.rmtree(old)
    shutil.rmtree(network.folders.store)
    coordinate_in(network, new)
    assert models(network) == undisturbed
    assert audited(network, new.parent / "store") == 3
    # The file for people starts there with the round that was being reported.
    assert [one["round"] for one in read_rounds(new.parent / "rounds.jsonl")] == [1, 2, 3]


def test_coordinator_when_restored_from_key_settings_and_store_goes_on(
    network: Network, tmp_path: Path, undisturbed: list[str]
) -> None:
    folder, store = network.folders.coordinator, network.folders.store
    backup = tmp_path / "backup"
    backup.mkdir()
    for name in ("coordinator.key", "coordinator.toml"):
        shutil.copy(folder / name, backup / name)
    coordinate_in(network, folder, until=2)
    shutil.copytree(store, backup / "store")
    for lost in (folder, store):
        shutil.rmtree(lost)
    network.folders.rounds.unlink()
    folder.mkdir()
    for name in ("coordinator.key", "coordinator.toml"):
        shutil.copy(backup / name, folder / name)
    shutil.copytree(backup / "store", store)
    coordinate_in(network, folder)
    assert models(network) == undisturbed
    assert audited(network, store) == 3


def test_coordinator_without_its_store_says_which_object_is_missing(network: Network) -> None:
    coordinate_in(network, network.folders.coordinator, until=1)
    shutil.rmtree(network.folders.store)
    with pytest.raises(ObjectMissing):
        coordinate_in(network, network.folders.coordinator)


def test_study_when_the_coordinators_key_is_lost_is_finished_by_the_standby(
    network: Network, undisturbed: list[str]
) -> None:
    first, second = network.folders.coordinator, network.folders.standby(1)
    coordinate_in(network, first, until=1)
    (first / "coordinator.key").unlink()
    with pytest.raises(SpecificationError, match="key file"):
        coordinate_in(network, first)
    network.contract.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    said: list[str] = []
    coordinate_in(network, second, standby=True, say=said.append)
    assert models(network) == undisturbed
    assert audited(network, network.folders.store) == 3
    lost, heir = (account.address for account in network.keys.coordinators)
    assert said == [f"took over round 2 from coordinator {lost}", "going on with round 2 of 3"]
    assert network.contract.study(network.study).coordinator == heir


def test_first_coordinator_when_it_comes_back_after_a_takeover_ends_or_waits(
    network: Network,
) -> None:
    first, second = network.folders.coordinator, network.folders.standby(1)
    network.contract.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    coordinate_in(network, second, standby=True, until=1)
    with pytest.raises(StoodDown, match="--standby"):
        coordinate_in(network, first)
    network.contract.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
    coordinate_in(network, first, standby=True)
    assert len(models(network)) == 3


def test_coordinator_with_a_key_that_the_study_does_not_list_is_refused(network: Network) -> None:
    key = network.folders.coordinator / "coordinator.key"
    key.unlink()
    write_new_key(key)
    with pytest.raises(CoordinatorError, match="not listed"):
        coordinate_in(network, network.folders.coordinator, standby=True)


def test_study_when_every_coordinator_is_lost_is_ended_by_its_sponsor(network: Network) -> None:
    coordinate_in(network, network.folders.coordinator, until=1)
    contract, study = network.contract, network.study
    contract.chain.advance(ROUND_SECONDS + 2 * GRACE_SECONDS)
    contract.end_study(network.keys.sponsor, study)
    assert contract.study(study).rounds == 1
    (_, closing) = contract.closings(study)[-1]
    contract.chain.advance(network.params.challenge_seconds + 1)
    assert contract.refund(network.keys.sponsor, study, closing) is not None
