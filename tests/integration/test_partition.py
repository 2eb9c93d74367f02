"""Silence between hosts in the middle of a round; and what of a coordinator others can reach."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chaos.play import undisturbed
from tests.chaos.promises import Subject, Verdict, judge
from tests.integration.hosts import Internet, why_not
from tests.integration.networks import CHAIN_ID, one_site
from wardround.audit.folders import Folders
from wardround.chain.chain import Chain, connected
from wardround.devchain.anvil import find_anvil
from wardround.host.log import EventLog
from wardround.protocol.identifiers import SiteAddress
from wardround.transport.certificates import issue_server
from wardround.transport.supervision import Program, Supervisor, module_command
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.settings import COORDINATOR_FILE
from wardround_simulations.live.layout import make_parties
from wardround_simulations.network import Network, new_folder, new_keys, prepare
from wardround_simulations.scenario import Scenario
from wardround_simulations.sites import password_file

COORDINATOR, CHAIN = "coordinator", "chain"
SITE = "hospital"
#: Some go by while the ports are tried.
ROUNDS = 14
CUT_SECONDS = 15.0
#: A round takes some four seconds, on a machine that others use too rather ten.
RECOVERED_SECONDS = 20.0
_RPC_PORT = 8545
_LOOK_SECONDS = 0.05
_ETHER = 10**18
_CLOSED = r"^round \d+ of \d+ closed"

_reason = why_not()
pytestmark = [
    pytest.mark.deep,
    pytest.mark.timeout(600),
    pytest.mark.skipif(_reason is not None, reason=str(_reason)),
]


@dataclass
class Spread:
    """A network whose parties are on hosts of their own.

    Attributes:
        folder: of everything.
        internet: the hosts.
        events: each party's log.
        heard: every event, with its time and party.
    """

    folder: Path
    internet: Internet
    events: dict[str, EventLog] = field(default_factory=dict)
    heard: list[tuple[float, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(lambda words: self.tell("supervisor", words))

    def tell(self, who: str, words: str) -> None:
        self.heard.append((time.monotonic(), who, words))

    def output(self, host: str) -> Path:
        """Where the output of a host's program is kept."""
        return self.folder / "logs" / f"{host}.log"

    def start(
        self, host: str, command: list[str], home: Path | None = None, *, once: bool = False
    ) -> None:
        """Keep a command running on a host, which gives its name, and read its home's events."""
        on = self.internet.on(host, command)
        if home is not None:
            self.events[host] = EventLog(home)
        self.supervisor.start(Program(host, lambda: on, self.output(host), once=once))

    def wait(self, until: Callable[[], bool], what: str, seconds: float = 240.0) -> None:
        """Wait until something is so, and keep everything running."""
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, f"{what}: {self.heard[-30:]}"
            self.supervisor.look()
            self.hear()
            time.sleep(_LOOK_SECONDS)

    def hear(self) -> None:
        """Read what the parties have logged since the last time."""
        for host, events in self.events.items():
            for message in events.news():
                self.tell(host, message)

    def wait_for(self, who: str, pattern: str, since: float | None = None) -> float:
        """Wait for an event after a moment, or from now on; return its time."""
        if since is None:
            self.hear()  # what was logged before is not from now on
            since = time.monotonic()
        moment = since
        found: list[float] = []

        def happened() -> bool:
            found.extend(self.times(who, pattern, moment))
            return bool(found)

        self.wait(happened, f"{who} was to log {pattern!r}")
        return found[0]

    def silence(self, one: str, other: str) -> float:
        """Cut two hosts off from each other, mend it, and measure how long a round then takes."""
        self.internet.cut(one, other)
        self.tell("router", f"drops everything between {one} and {other}")
        end = time.monotonic() + CUT_SECONDS
        self.wait(lambda: time.monotonic() > end, "the cut")
        assert not self.times(COORDINATOR, _CLOSED, end - CUT_SECONDS + 1), "the cut did nothing"
        self.internet.mend(one, other)
        mended = time.monotonic()
        self.tell("router", f"lets {one} and {other} talk again")
        return self.wait_for(COORDINATOR, _CLOSED, mended) - mended

    def times(self, who: str, pattern: str, since: float) -> list[float]:
        """When a party logged events after a moment, the earliest first."""
        return [
            at
            for at, name, words in self.heard
            if name == who and at > since and re.search(pattern, words)
        ]


class Reached(NamedTuple):
    """Ports of the coordinator's host that take a connection: from a site's host, from itself."""

    from_hospital: set[int]
    from_itself: set[int]


@dataclass(frozen=True)
class Partitioned:
    """A study in which hosts were cut off from each other, and what came of it.

    Attributes:
        door: the port that sites connect to.
        recovery_seconds: from each mending to the next closed round, by who was cut off.
    """

    verdict: Verdict
    reached: Reached
    door: int
    recovery_seconds: dict[tuple[str, str], float]


@pytest.fixture(scope="module")
def partitioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partitioned]:
    folder = tmp_path_factory.mktemp("partition")
    scenario = one_site(ROUNDS)
    expected = undisturbed(scenario, folder / "undisturbed")
    with Internet([COORDINATOR, SITE, CHAIN]) as internet:
        spread = Spread(folder / "network", internet)
        try:
            with chain_of(spread) as chain:
                network, door = laid_out(spread, scenario, chain)
                start_parties(spread, network)
                spread.wait_for(COORDINATOR, _CLOSED)
                reached = reached_of(internet)
                recovery = disturbed(spread)
                spread.wait(lambda: spread.supervisor.ended(COORDINATOR), "the study was to end")
                yield Partitioned(judge(subject_of(network), expected), reached, door, recovery)
        finally:
            spread.supervisor.stop()
            for at, who, words in spread.heard:
                print(f"{at - spread.heard[0][0]:7.2f} {who:>12}  {words}")


@contextmanager
def chain_of(spread: Spread) -> Iterator[Chain]:
    """A chain on its own host; we ask it over a local socket, which no cut reaches."""
    new_folder(spread.folder)
    (spread.folder / "logs").mkdir()
    # The path of a local socket may have some 100 bytes only.
    socket = Path("/tmp") / f"{spread.internet.name}.ipc"
    where = ["--host", "0.0.0.0", "--port", str(_RPC_PORT), "--ipc", str(socket)]
    what = ["--chain-id", str(CHAIN_ID), "--accounts", "0", "--hardfork", "prague"]
    spread.start(CHAIN, [str(find_anvil()), *where, *what])
    listening = spread.output(CHAIN)
    spread.wait(lambda: listening.exists() and "Listening on" in listening.read_text(), "a chain")
    try:
        with connected(f"ipc://{socket}", CHAIN_ID) as chain:
            yield chain
    finally:
        socket.unlink(missing_ok=True)


def laid_out(spread: Spread, scenario: Scenario, chain: Chain) -> tuple[Network, int]:
    """Prepare the study, and let everybody know the others by their hosts' addresses."""
    folders, internet = Folders(spread.folder), spread.internet
    keys = new_keys(folders)
    for address in keys.addresses:
        chain.rpc("anvil_setBalance", address, hex(10_000 * _ETHER))
    network = prepare(scenario, folders, keys, chain, data_dir=None, retry_seconds=120)
    now = datetime.now(UTC)
    (seat,) = make_parties(network, now)
    local = seat.address
    here = internet.address(COORDINATOR)
    issue_server(CoordinatorHome(folders.coordinator).tls, [here, "127.0.0.1"], now)
    files = [folders.coordinator / COORDINATOR_FILE]
    files += [folders.sites / party.name / "site.toml" for party in network.parties]
    for path in files:
        text = path.read_text("utf-8")
        text = text.replace(chain.url, f"http://{internet.address(CHAIN)}:{_RPC_PORT}")
        text = text.replace(str(local), f"{here}:{local.port}")
        # On every address of the host, so that what is not reached is not open.
        text = text.replace(f'host = "{local.host}"', 'host = "0.0.0.0"')
        text = text.replace(f'names = ["{local.host}"]', f'names = ["{here}"]')
        path.write_text(text, "utf-8")
    return network, local.port


def start_parties(spread: Spread, network: Network) -> None:
    folders = network.folders
    command = module_command("wardround", "coordinator", "run", "--leave", str(folders.coordinator))
    spread.start(COORDINATOR, command, folders.coordinator, once=True)
    (party,) = network.parties
    home, password = folders.sites / party.name, password_file(folders.root, party.name)
    words = ("site", "run", str(home), "--password-file", str(password), "--keep")
    spread.start(SITE, module_command("wardround", *words), home)


def disturbed(spread: Spread) -> dict[tuple[str, str], float]:
    """Cut each of the three kinds of connection in the middle of a round; seconds to recover."""
    found = {}
    spread.wait_for(SITE, "asks to train")
    found[SITE, COORDINATOR] = spread.silence(SITE, COORDINATOR)
    spread.wait_for(SITE, "signed round")
    found[COORDINATOR, CHAIN] = spread.silence(COORDINATOR, CHAIN)
    spread.wait_for(SITE, "asks to train")
    found[SITE, CHAIN] = spread.silence(SITE, CHAIN)
    return found


_SCAN = """
import socket, sys
for port in range(1, 65536):
    with socket.socket() as one:
        one.settimeout(5)
        if one.connect_ex((sys.argv[1], port)) == 0:
            print(port)
"""


def reached_of(internet: Internet) -> Reached:
    """Try every port of the coordinator's host, from a site's host and from that host itself."""

    def ports(host: str, address: str) -> set[int]:
        command = internet.on(host, [sys.executable, "-c", _SCAN, address])
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return set(map(int, done.stdout.split()))

    here = internet.address(COORDINATOR)
    return Reached(ports(SITE, here), ports(COORDINATOR, "127.0.0.1"))


def subject_of(network: Network) -> Subject:
    return Subject(
        network.contract,
        network.study,
        {party.name: SiteAddress(party.account.address) for party in network.parties},
        network.keys.sponsor,
        [network.folders.sites / party.name for party in network.parties],
        str(network.folders.store),
    )


def test_study_goes_on_with_the_models_of_an_undisturbed_one(partitioned: Partitioned) -> None:
    verdict = partitioned.verdict
    assert verdict.broken == []
    assert verdict.rounds == verdict.roots_equal == verdict.audited == ROUNDS
    assert verdict.signatures == ROUNDS
    assert (verdict.double_signatures, verdict.double_closes, verdict.lost_rewards) == (0, 0, 0)


def test_silence_that_ends_is_over_soon(partitioned: Partitioned) -> None:
    print(partitioned.recovery_seconds)
    assert len(partitioned.recovery_seconds) == 3
    assert max(partitioned.recovery_seconds.values()) < RECOVERED_SECONDS


def test_only_the_door_answers_another_host(partitioned: Partitioned) -> None:
    from_hospital, from_itself = partitioned.reached
    assert from_hospital == {partitioned.door}
    # The SuperLink with its control interface is there, on the host itself.
    assert from_itself > {partitioned.door}
