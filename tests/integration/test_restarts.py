"""Programs that die at coordinator and site, and a chain that is away at the start and later."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from tests.chaos.links import Link
from tests.integration.networks import one_site, run, toml_of
from wardround.audit.folders import Folders
from wardround.chain.chain import Chain
from wardround.transport.processes import with_descendants
from wardround_simulations.live.record import read_processes
from wardround_simulations.live.run import LiveNetwork
from wardround_simulations.network import Network
from wardround_simulations.results import Results
from wardround_simulations.scenario import Scenario

ROUNDS = 7
CUT_SECONDS = 6.0
LIMIT_SECONDS = 400
pytestmark = [pytest.mark.deep, pytest.mark.timeout(LIMIT_SECONDS + 60)]

#: What the coordinator starts, directly or through the SuperLink, by its command line.
PROGRAMS = {
    "the ServerApp": "flwr-serverapp",
    "the SuperLink": "wardround.transport.flower.superlink",
    "the door": "wardround_coordinator.door",
}
SUPERNODE = "the SuperNode"


@dataclass
class Troubled(LiveNetwork):
    """A network in which one thing after the other goes wrong, each in a round of its own.

    Attributes:
        heard: every log line, with its process.
        killed: the process number of each program that was killed.
        links: the site's ways to its chain; cut at the start.
    """

    heard: list[tuple[str, str]] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._course = self._play()

    def _prepare(
        self, scenario: Scenario, folders: Folders, chain: Chain, data_dir: Path | None
    ) -> Network:
        network = super()._prepare(scenario, folders, chain, data_dir)
        link = Link(int(chain.url.rsplit(":", 1)[1]))
        link.cut()
        self.links.append(link)
        (self.site,) = (party.name for party in network.parties)
        settings = folders.sites / self.site / "site.toml"
        text = settings.read_text("utf-8")
        assert text.count(chain.url) == 1
        settings.write_text(text.replace(chain.url, f"http://127.0.0.1:{link.port}"), "utf-8")
        return network

    def _look(self) -> None:
        super()._look()
        next(self._course, None)

    def _play(self) -> Iterator[None]:
        """What goes wrong; each turn is one look."""
        while not self.links:
            yield
        (link,) = self.links
        while not self._said(self.site, r"^REFUSED \(chain-silent\)"):
            yield
        link.mend()
        for number, (name, pattern) in enumerate(PROGRAMS.items(), 1):
            yield from self._wait_for_round(number)
            yield from self._kill("coordinator", name, pattern)
        yield from self._wait_for_round(len(PROGRAMS) + 1)
        yield from self._kill(self.site, SUPERNODE, "wardround_client.supernode")
        yield from self._wait_for_round(len(PROGRAMS) + 2)
        link.cut()
        end = time.monotonic() + CUT_SECONDS
        while time.monotonic() < end:
            yield
        link.mend()

    def _kill(self, whose: str, name: str, pattern: str) -> Iterator[None]:
        while not (found := self._find(whose, pattern)):
            yield
        self.killed[name] = found[0]
        os.kill(found[0], signal.SIGKILL)

    def _said(self, who: str, pattern: str) -> bool:
        return any(name == who and re.search(pattern, words) for name, words in self.heard)

    def _wait_for_round(self, number: int) -> Iterator[None]:
        while not self._said("coordinator", f"^round {number} of {ROUNDS} closed"):
            yield

    def _find(self, whose: str, pattern: str) -> list[int]:
        """A party's processes whose command line has a pattern."""
        found = []
        for mark in with_descendants([read_processes(self.folder)[whose].pid]):
            with suppress(psutil.NoSuchProcess):
                if pattern in " ".join(psutil.Process(mark.pid).cmdline()):
                    found.append(mark.pid)
        return found


@dataclass(frozen=True)
class Ended:
    network: Troubled
    results: Results
    alone: Results

    def said(self, who: str) -> str:
        return "\n".join(words for name, words in self.network.heard if name == who)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("restarts")
    scenario = one_site(ROUNDS)
    alone = run(scenario, folder / "alone")
    heard: list[tuple[str, str]] = []
    stopped = threading.Event()
    network = Troubled(
        folder / "network",
        lambda who, words: heard.append((who, words)),
        lambda: datetime.now(UTC),
        stopped,
        heard=heard,
    )
    limit = threading.Timer(LIMIT_SECONDS, stopped.set)
    limit.start()
    try:
        results = network.run(scenario, toml_of(scenario), None)
    finally:
        limit.cancel()
        for link in network.links:
            link.close()
        print("\n".join(f"{who:>12}  {words}" for who, words in heard))
    assert results is not None, heard[-40:]
    return Ended(network, results, alone)


def test_models_are_those_of_a_calm_network(ended: Ended) -> None:
    rounds = ended.results.rounds
    assert [row["model"] for row in rounds] == [row["model"] for row in ended.alone.rounds]
    assert len(rounds) == ROUNDS
    assert all(len(row["contributors"]) == 1 and not row["dropped"] for row in rounds)


@pytest.mark.parametrize("name", ["the SuperLink", "the door"])
def test_program_of_the_coordinator_that_dies_is_started_again(ended: Ended, name: str) -> None:
    assert f"{name} was killed by signal 9; starting it again" in ended.said("coordinator")


def test_server_app_that_dies_is_submitted_again(ended: Ended) -> None:
    assert set(ended.network.killed) == {*PROGRAMS, SUPERNODE}
    assert "going on where the chain stands" in ended.said("coordinator")


def test_supernode_that_is_killed_comes_back_in_its_own_place(ended: Ended) -> None:
    """Flower counts the killed one as connected for a while; the next waits, and does not end."""
    said = ended.said(ended.network.site)
    after = said[said.index(f"{SUPERNODE} was killed by signal 9; starting it again") :]
    # On a busy machine its start takes longer than Flower counts the one before.
    waited = after.find("still counts the connection before")
    connected = after.index("connected to the coordinator")
    assert waited < connected
    assert f"{SUPERNODE} ended with" not in after[:connected]


def test_site_whose_chain_is_away_says_so_and_signs_later(ended: Ended) -> None:
    said = ended.said(ended.network.site)
    first = said.index("signed round 1 of")
    assert "does not answer" in said[:first]
    for number in range(1, ROUNDS + 1):
        assert f"signed round {number} of" in said
