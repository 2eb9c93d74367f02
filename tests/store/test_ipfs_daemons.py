"""Studies whose store is a real IPFS daemon, or two of which one dies and comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import ipfshttpclient
import pytest
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from tests.integration.networks import prepared, run, small_scenario
from tests.store.ipfs_daemon import Daemon
from wardround.audit.audit import StudyAudit
from wardround.protocol.identifiers import hex_of
from wardround.store import FolderStore, ReplicatedStore, Store, open_store
from wardround.store.errors import ObjectMissing
from wardround_coordinator.server_app import coordinate
from wardround_coordinator.settings import COORDINATOR_FILE
from wardround_simulations.client_app import app as client_app
from wardround_simulations.engines import run_in_process
from wardround_simulations.network import Network

ROUNDS, SITES = 3, 3
pytestmark = [
    pytest.mark.deep,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:The 'strict' parameter:FutureWarning"),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], set[str]]:
    """Models, and CIDs of the vectors, of the same study in a folder."""
    folder = tmp_path_factory.mktemp("folder") / "run"
    results = run(small_scenario(), folder)
    store = FolderStore(folder / "store")
    return [one["model"] for one in results.rounds], vectors(store)


def vectors(store: Store) -> set[str]:
    """CIDs of updates and models; documents name keys and contracts, which differ by run."""
    return {cid for cid in store.cids() if not store.get(cid).startswith(b"{")}


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[list[Daemon]]:
    found: list[Daemon] = []
    try:
        for name in ("first", "second"):
            found.append(Daemon(tmp_path / name))
        yield found
    finally:
        for one in found:
            one.kill()


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with prepared(small_scenario(), tmp_path / "network") as made:
        yield made


def put_store(network: Network, url: str) -> None:
    """Let the coordinator's settings name another store, and give it what the study begins with."""
    with closing(open_store(url)) as store:
        begin = FolderStore(network.folders.store)
        for cid in begin.cids():
            assert store.put(begin.get(cid)) == cid
    path = network.folders.coordinator / COORDINATOR_FILE
    text = path.read_text()
    assert '"../store"' in text
    path.write_text(text.replace('"../store"', f'"{url}"'))


def coordinated(network: Network, on_round: dict[int, Any]) -> None:
    """Run the study; call a function when a round was reported."""

    def on_summary(summary: dict[str, Any]) -> None:
        on_round.get(summary["round"], lambda: None)()

    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        coordinate(network.folders.coordinator, grid, on_summary)

    config = {"network": str(network.folders.root)}
    partial(run_in_process, server_app, client_app, [{} for _ in network.parties], config)()


def models(network: Network) -> list[str]:
    closings = network.contract.closings(network.study)
    return [hex_of(closing.record.model) for _, closing in closings]


def audited(network: Network, store: Store) -> int:
    audit = StudyAudit(network.contract, network.study, store)
    assert len(list(audit.rounds())) == ROUNDS
    return audit.check_objects()


def collect_garbage(daemon: Daemon) -> None:
    with ipfshttpclient.Client(f"/ip4/127.0.0.1/tcp/{daemon.port}/http") as client:
        client.repo.gc()


def test_study_in_a_daemon_has_the_models_and_cids_of_a_folder(
    network: Network, daemons: list[Daemon], undisturbed: tuple[list[str], set[str]]
) -> None:
    put_store(network, daemons[0].url)
    coordinated(network, {})
    assert models(network) == undisturbed[0]
    # Pinned: nothing goes when the daemon throws away what is not.
    collect_garbage(daemons[0])
    with closing(open_store(daemons[0].url)) as store:
        # Specification, first model; and each round updates and reports, manifest, model.
        assert audited(network, store) == 2 + ROUNDS * (2 * SITES + 2)
        assert vectors(store) == undisturbed[1]


def test_object_when_unpinned_is_gone_and_mended_from_the_other(daemons: list[Daemon]) -> None:
    url = ",".join(one.url for one in daemons)
    with closing(open_store(url)) as both, closing(open_store(daemons[1].url)) as second:
        assert isinstance(both, ReplicatedStore)
        cid = both.put(b"model")
        with ipfshttpclient.Client(f"/ip4/127.0.0.1/tcp/{daemons[1].port}/http") as client:
            client.pin.rm(cid)
        collect_garbage(daemons[1])
        with pytest.raises(ObjectMissing):
            second.get(cid)
        assert both.repair() == 1
        assert second.get(cid) == b"model"


def test_study_goes_on_while_one_of_two_daemons_is_dead(
    network: Network, daemons: list[Daemon], undisturbed: tuple[list[str], set[str]]
) -> None:
    first, second = daemons
    url = f"{first.url},{second.url}#quorum=1"
    put_store(network, url)
    coordinated(network, {1: second.kill, 2: second.start})
    assert models(network) == undisturbed[0]
    with closing(open_store(second.url)) as alone:
        lacking = undisturbed[1] - vectors(alone)
    # Of the round without it: three updates and a model, unless a reader repaired them since.
    assert 0 < len(lacking) <= SITES + 1
    with closing(open_store(url)) as both:
        assert isinstance(both, ReplicatedStore)
        assert both.repair() >= len(lacking)
    for one in daemons:
        with closing(open_store(one.url)) as alone:
            audited(network, alone)
            assert vectors(alone) == undisturbed[1]


def test_study_waits_for_a_daemon_that_must_take_what_is_put(
    network: Network, daemons: list[Daemon], undisturbed: tuple[list[str], set[str]]
) -> None:
    """Without a quorum most must have it, which of two are both."""
    second = daemons[1]
    put_store(network, ",".join(one.url for one in daemons))
    back = threading.Timer(6, second.start)

    def away() -> None:
        second.kill()
        back.start()

    there: list[bool] = []
    coordinated(network, {1: away, 2: lambda: there.append(second.is_running)})
    back.join()
    assert there == [True], "the second round was closed without it"
    assert models(network) == undisturbed[0]
    for one in daemons:
        with closing(open_store(one.url)) as alone:
            audited(network, alone)
