"""Four hospitals as real processes: the same models as in one process, and no row leaves."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.integration.recording import Recorder, Sent, requests_of, texts_of, traces_of
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import open_run
from wardround.audit.folders import Folders
from wardround.chain.chain import Chain
from wardround.learning.datasets.heart import HOSPITALS
from wardround.learning.datasets.table import load_table
from wardround.protocol.identifiers import hex_of
from wardround.transport.certificates import (
    AUTHORITY_CERTIFICATE,
    Address,
    issue_server,
    make_authority,
)
from wardround.transport.processes import ProcessMark, running, with_descendants
from wardround_simulations.live.record import read_processes
from wardround_simulations.live.run import LiveNetwork
from wardround_simulations.network import Network
from wardround_simulations.results import Results
from wardround_simulations.run import simulate
from wardround_simulations.scenario import Scenario, load_scenario, with_changes

ROUNDS = 3
LIMIT_SECONDS = 900
pytestmark = [pytest.mark.deep, pytest.mark.timeout(LIMIT_SECONDS + 60)]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "operating-a-site.md"


@dataclass
class RecordedNetwork(LiveNetwork):
    """A live network whose sites reach the world through recorders only."""

    recorders: dict[str, list[Recorder]] = field(default_factory=dict)
    listening: set[tuple[str, int]] = field(default_factory=set)
    processes: set[ProcessMark] = field(default_factory=set)
    look_again: float = 0.0

    def _prepare(
        self, scenario: Scenario, folders: Folders, chain: Chain, data_dir: Path | None
    ) -> Network:
        network = super()._prepare(scenario, folders, chain, data_dir)
        tls = self.folder / "recorder"
        tls.mkdir()
        make_authority(tls, "recorder", self.now())
        issue_server(tls, ["127.0.0.1"], self.now())
        real = folders.coordinator / "tls" / AUTHORITY_CERTIFICATE
        for party in network.parties:
            home = folders.sites / party.name
            settings = (home / "site.toml").read_text()
            (link,) = re.findall(r'^address = "(.+)"$', settings, re.MULTILINE)
            fleet = Recorder(Address.parse(link), tls, real)
            rpc = Recorder(Address.parse(chain.url.removeprefix("http://")))
            settings = settings.replace(link, str(fleet.address))
            settings = settings.replace(chain.url, f"http://{rpc.address}")
            (home / "site.toml").write_text(settings)
            (home / "coordinator.pem").write_bytes((tls / AUTHORITY_CERTIFICATE).read_bytes())
            self.recorders[party.name] = [fleet, rpc]
        return network

    def _look(self) -> None:
        super()._look()
        # Often enough to see everybody; each look reads the whole list of processes.
        if time.monotonic() > self.look_again:
            self.look_again = time.monotonic() + 5
            pids = [mark.pid for mark in read_processes(self.folder).values()][1:]
            self.processes |= set(with_descendants(pids))
            self.listening |= listeners({mark.pid for mark in self.processes})


def listeners(pids: set[int]) -> set[tuple[str, int]]:
    """Where processes listen for TCP connections: address and port, from the kernel."""
    inodes = set()
    for pid in pids:
        try:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                found = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
                if found:
                    inodes.add(found[1])
        except OSError:
            continue  # ended meanwhile, or a guard, whose files are closed to others
    found_at = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        cells = line.split()
        if cells[3] == "0A" and cells[9] in inodes:
            host, port = cells[1].split(":")
            address = socket.inet_ntoa(bytes.fromhex(host)[::-1])
            found_at.add((address, int(port, 16)))
    return found_at


@dataclass(frozen=True)
class Live:
    network: RecordedNetwork
    results: Results
    told: list[tuple[str, str]]
    seconds: float

    @property
    def sent(self) -> dict[str, list[Sent]]:
        recorders = self.network.recorders.items()
        return {name: [s for one in both for s in one.sent()] for name, both in recorders}


@pytest.fixture(scope="module")
def live(heart_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Live:
    folder = tmp_path_factory.mktemp("live") / "network"
    scenario, text = load_scenario("four-hospitals")
    scenario = with_changes(scenario, sites=None, rounds=ROUNDS, seed=None)
    stopped, told, started = threading.Event(), [], time.monotonic()
    network = RecordedNetwork(
        folder, lambda who, words: told.append((who, words)), lambda: datetime.now(UTC), stopped
    )
    limit = threading.Timer(LIMIT_SECONDS, stopped.set)
    limit.start()
    try:
        results = network.run(scenario, text, heart_folder)
    finally:
        limit.cancel()
        for both in network.recorders.values():
            for one in both:
                one.close()
    assert results is not None, told[-40:]
    return Live(network, results, told, time.monotonic() - started)


def test_models_are_those_of_one_process(live: Live, heart_folder: Path, tmp_path: Path) -> None:
    scenario, text = load_scenario("four-hospitals")
    scenario = with_changes(scenario, sites=None, rounds=ROUNDS, seed=None)
    alone = simulate(scenario, text, tmp_path / "alone", data_dir=heart_folder)
    assert [row["model"] for row in live.results.rounds] == [row["model"] for row in alone.rounds]
    assert len(live.results.rounds) == ROUNDS
    assert all(len(row["contributors"]) == 4 and not row["dropped"] for row in live.results.rounds)
    assert [row["accuracy"] for row in live.results.rounds] == [
        row["accuracy"] for row in alone.rounds
    ]


def test_audit_passes_on_journal_and_store_alone(live: Live) -> None:
    with open_run(live.network.folder) as opened:
        audit = StudyAudit(opened.contract, opened.study, opened.store)
        models = [hex_of(one.record.model) for one in audit.rounds()]
        audit.check_objects()
    assert models == [row["model"] for row in live.results.rounds]


def test_no_process_is_left(live: Live) -> None:
    assert len(live.network.processes) >= 12
    assert running(live.network.processes) == []
    assert read_processes(live.network.folder) == {}


def test_everything_listens_on_loopback_only(live: Live) -> None:
    """The SuperLink, its door, the chain, and each site's SuperNode."""
    assert len(live.network.listening) >= 3 + 4
    assert {address for address, _ in live.network.listening} == {"127.0.0.1"}


def test_everybody_says_what_happens(live: Live) -> None:
    told = "\n".join(f"{who}: {words}" for who, words in live.told)
    for name in live.network.recorders:
        assert f"{name}: signed round {ROUNDS} of study" in told
        assert f"{name}: the coordinator's code is the approved one" in told
    assert f"coordinator: round {ROUNDS} of {ROUNDS} closed: 4 sites" in told
    assert "coordinator: the study is finished" in told
    assert "REFUSED" not in told


# ---------------------------------------------------------------- what left


@pytest.fixture(scope="module")
def traces(live: Live, heart_folder: Path) -> dict[str, set[bytes]]:
    """Every way to write a row of a site, by site."""
    found: dict[str, set[bytes]] = {}
    files = {hospital.name: hospital.file for hospital in HOSPITALS}
    for name in live.network.recorders:
        home = live.network.folder / "sites" / name
        tables = [load_table(home / f"{what}.npz") for what in ("train", "test")]
        found[name] = set().union(*(traces_of(table.features) for table in tables))
        paths = list(heart_folder.rglob(files[name]))
        assert paths
        found[name] |= texts_of(paths[0])
    return found


def test_no_row_leaves(live: Live, traces: dict[str, set[bytes]]) -> None:
    for name, recorders in live.network.recorders.items():
        streams = [bytes(stream) for one in recorders for stream in one.streams]
        assert sum(map(len, streams)) > 10_000
        assert len(traces[name]) > 1000
        leaked = [trace for trace in traces[name] for stream in streams if trace in stream]
        assert leaked == []


def test_a_row_that_leaves_is_noticed(live: Live, traces: dict[str, set[bytes]]) -> None:
    name = "cleveland"
    table = load_table(live.network.folder / "sites" / name / "train.npz")
    row = table.features[5].astype("<f8").tobytes()
    assert any(trace in b"\x00" * 9 + row + b"\x01" for trace in traces[name])
    line = b"x 63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3"
    assert any(trace in line for trace in traces[name])


def test_updates_leave(live: Live) -> None:
    """The recorders see through the encryption: what was signed is in what they kept."""
    store = live.network.folder / "store"
    stored = {path.read_bytes() for path in store.iterdir() if path.stat().st_size == 4 * 14}
    for sent in live.sent.values():
        bodies = b"".join(one.body for one in sent)
        assert sum(vector in bodies for vector in stored) >= ROUNDS


def documented() -> dict[str, int]:
    """Read the table of what leaves: the largest size in bytes by kind."""
    section = DOCS.read_text("utf-8").split("<!-- leaves -->")[1].split("<!-- /leaves -->")[0]
    rows = re.findall(r"^\| `([\w/-]+)` \|.*\| ([\d,]+) \|$", section, re.MULTILINE)
    return {kind: int(size.replace(",", "")) for kind, size in rows}


def test_what_leaves_is_what_the_docs_list(live: Live) -> None:
    found: dict[str, list[int]] = defaultdict(list)
    for sent in live.sent.values():
        for one in sent:
            found[one.kind].append(one.size)
    report = {kind: (len(sizes), min(sizes), max(sizes)) for kind, sizes in sorted(found.items())}
    print(report)
    limits = documented()
    assert set(found) - {"cut off"} <= set(limits), report
    # A site signs off only where the coordinator is still reachable.
    assert set(limits) - {"deactivate-node"} <= set(found), report
    assert {k: v for k, v in report.items() if k in limits and v[2] > limits[k]} == {}


def test_streams_are_cut_into_requests() -> None:
    stream = b"POST /v1/fleet/get-run HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
    call = b'{"method": "eth_call"}'
    stream += b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (len(call), call)
    assert [(one.kind, one.body) for one in requests_of(stream + b"POS")] == [
        ("get-run", b"abc"),
        ("eth_call", call),
        ("cut off", b""),
    ]


def test_traces_hold_every_way_to_write_a_row() -> None:
    row = np.linspace(0.1, 1.3, 13, dtype=np.float32)
    found = traces_of(row[np.newaxis])
    assert row.tobytes() in found
    assert row[3:9].astype(">f8").tobytes() in found
