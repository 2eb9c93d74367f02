"""A coordinator dies for good under real SuperLinks, and the standby finishes the study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.chaos.play import undisturbed
from tests.chaos.promises import Subject, Verdict, judge
from tests.integration.networks import one_site, toml_of
from wardround.audit.finished import open_run, read_network
from wardround.chain.chain import open_chain
from wardround.chain.errors import ChainError
from wardround.chain.events import TookOver
from wardround.chain.study_state import StudyState
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key
from wardround.protocol.identifiers import StudyId, address_of, bytes32
from wardround.transport.processes import running, with_descendants
from wardround_client.guard.log import read_log
from wardround_coordinator.rounds_file import read_rounds
from wardround_simulations.live.record import read_processes
from wardround_simulations.live.run import LiveNetwork
from wardround_simulations.results import Results
from wardround_simulations.scenario import Scenario

#: Enough for the lost one to come back while its heir closes them, one in a second or two.
ROUNDS = 20
ROUND_SECONDS, GRACE_SECONDS = 30, 12
LIMIT_SECONDS = 600.0
pytestmark = [pytest.mark.deep, pytest.mark.timeout(2 * LIMIT_SECONDS)]


def scenario() -> Scenario:
    chain = {
        "round_seconds": ROUND_SECONDS,
        "grace_seconds": GRACE_SECONDS,
        "registration_seconds": 12,
        "bond": "50",
    }
    return one_site(ROUNDS, chain=chain)


@dataclass
class Scene:
    """A network with a standby, run in a thread of its own."""

    folder: Path
    told: list[tuple[str, str]] = field(default_factory=list)
    results: list[Results | None] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.network = LiveNetwork(
            self.folder,
            lambda who, words: self.told.append((who, words)),
            lambda: datetime.now(UTC),
            self.stopped,
        )
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        text = toml_of(scenario())
        self.results.append(self.network.run(scenario(), text, None, standbys=1))

    def until(self, true: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not true():
            assert time.monotonic() < deadline, (what, self.told[-30:])
            assert self.thread.is_alive(), (what, self.told[-30:])
            time.sleep(0.1)

    def state(self) -> StudyState:
        file = read_network(self.folder)
        chain = open_chain(file.chain, file.chain_id)
        try:
            study = StudyId(bytes32(file.study, "study"))
            return WardRound(chain, file.contract).study(study)
        finally:
            chain.close()

    def signed(self) -> int:
        """The latest round that the first site has signed a contribution to."""
        path = self.folder / "sites" / "site-1" / "guard.log"
        log = read_log(path) if path.exists() else ()
        return max((line["round"] for line in log if line["kind"] == "signed"), default=0)

    def lose(self, name: str) -> int:
        """Kill a coordinator and everything that it started, for good; how many died."""
        marks = with_descendants([read_processes(self.folder)[name].pid])
        for mark in marks:
            with suppress(ProcessLookupError):
                os.kill(mark.pid, signal.SIGKILL)
        self.network._supervisor.forget(name)
        # A busy machine takes its time to bury the killed.
        self.until(lambda: not running(marks), "the killed processes' end")
        return len(marks)

    def said(self, who: str, words: str) -> bool:
        return any(name == who and words in line for name, line in list(self.told))


@dataclass(frozen=True)
class Played:
    """What happened."""

    scene: Scene
    lost: str
    heir: str
    killed_in: int
    deaths: int
    alone: subprocess.CompletedProcess[str]
    cost_seconds: float
    verdict: Verdict
    back_at: int


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    base = tmp_path_factory.mktemp("standby")
    expected = undisturbed(scenario(), base / "undisturbed")
    scene = Scene(base / "network")
    scene.thread.start()
    limit = threading.Timer(LIMIT_SECONDS, scene.stopped.set)
    limit.start()
    try:
        scene.until((scene.folder / "network.json").exists, "the study")
        keys = {
            read_key(scene.folder / name / "coordinator.key").address: name
            for name in ("coordinator", "standby-1")
        }
        # Between the site's signature and the round's end: in the middle of a round.
        # The third, because a coordinator that takes over also reports the round before.
        scene.until(lambda: scene.signed() >= 3, "the third round's signature")
        before = scene.state()
        lost = keys[before.coordinator]
        (heir,) = set(keys.values()) - {lost}
        deaths, killed_at = scene.lose(lost), time.monotonic()
        before = scene.state()  # it may have closed the round just before
        scene.until(lambda: scene.state().coordinator != before.coordinator, "the takeover")
        # It comes back, as one that does not stand by: it ends; then as one that does.
        command = [
            sys.executable,
            "-m",
            "wardround",
            "coordinator",
            "run",
            str(scene.folder / lost),
        ]
        # It does not stay to answer for the rounds that it closed.
        leaving = [*command, "--leave"]
        alone = subprocess.run(leaving, capture_output=True, text=True, timeout=120, check=False)
        back_at = len(scene.told)
        scene.network._start(
            lost, scene.folder / lost, "wardround", *command[3:], "--standby", once=True
        )
        scene.until(lambda: scene.state().head > before.head, "the round after the takeover")
        cost_seconds = time.monotonic() - killed_at
        scene.thread.join(LIMIT_SECONDS)
        assert not scene.thread.is_alive(), scene.told[-30:]
    finally:
        limit.cancel()
        scene.stopped.set()
        scene.thread.join(120)
    with open_run(scene.folder, to_append=True) as run:
        sites = {name: address_of(address) for name, address in run.file.sites.items()}
        subject = Subject(
            run.contract,
            run.study,
            sites,
            read_key(scene.folder / "sponsor.key"),
            [run.folders.sites / name for name in sites],
            str(run.folders.store),
        )
        verdict = judge(subject, expected)
    return Played(scene, lost, heir, before.head, deaths, alone, cost_seconds, verdict, back_at)


def test_study_is_finished_with_the_undisturbed_runs_models_and_rewards(played: Played) -> None:
    verdict = played.verdict
    assert verdict.broken == []
    assert verdict.rounds == verdict.roots_equal == verdict.audited == ROUNDS
    assert verdict.signatures == ROUNDS
    assert (verdict.double_signatures, verdict.double_closes, verdict.lost_rewards) == (0, 0, 0)
    assert verdict.paid > 0


def test_standby_took_over_and_says_so(played: Played) -> None:
    assert 3 <= played.killed_in < ROUNDS
    # `coordinator run`, the SuperLink, its door, its SuperExec, the ServerApp.
    assert played.deaths >= 5
    with open_run(played.scene.folder) as run:
        took = [one for one in run.contract.events(run.study) if isinstance(one, TookOver)]
        closed = run.contract.closings(run.study)
    heir = read_key(played.scene.folder / played.heir / "coordinator.key").address
    assert (took[-1].coordinator, took[-1].round) == (heir, played.killed_in)
    assert {closing.coordinator for number, closing in closed if number >= played.killed_in} == {
        heir
    }
    assert played.scene.said(played.heir, f"took over round {played.killed_in} from coordinator")


def test_first_coordinator_when_it_is_back_ends_or_stands_by(played: Played) -> None:
    heir = read_key(played.scene.folder / played.heir / "coordinator.key").address
    assert played.alone.returncode == 1
    assert f"belongs to coordinator {heir}" in played.alone.stderr
    # With --standby it waits, to the study's end or until everything is stopped.
    back = [words for who, words in played.scene.told[played.back_at :] if who == played.lost]
    assert any(words.startswith("sites reach this coordinator") for words in back)
    assert "stopping" in back[-2:]
    assert not any("took over" in words or " closed: " in words for words in back)


def test_network_ends_and_reads_the_rounds_of_both(played: Played) -> None:
    (results,) = played.scene.results
    assert results is not None
    assert [row["round"] for row in results.rounds] == list(range(1, ROUNDS + 1))
    own = read_rounds(played.scene.folder / "standby-1" / "rounds.jsonl")
    assert len(own) < ROUNDS
    assert read_processes(played.scene.folder) == {}


def test_takeover_costs_no_more_than_its_terms(played: Played) -> None:
    """Round and grace, and one round of time, which is generous here for a busy machine."""
    assert played.cost_seconds < ROUND_SECONDS + GRACE_SECONDS + 60
    with suppress(ChainError):
        pytest.fail(f"the chain still answers: {played.scene.state()}")
