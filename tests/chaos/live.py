"""Chaos on a network of real processes: SuperLink, SuperNodes, TLS, as `network up` starts them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import psutil

from tests.chaos.play import learning_rate, undisturbed
from tests.chaos.promises import Expected, Subject, Verdict, judge
from tests.chaos.report import Leg
from tests.chaos.run import Course, NotRecovered, Outcome
from wardround.audit.finished import open_run, read_network
from wardround.audit.folders import Folders
from wardround.chain.chain import Chain, open_chain
from wardround.chain.errors import ChainError
from wardround.chain.study_state import StudyState
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key
from wardround.protocol.errors import ScenarioError
from wardround.protocol.identifiers import StudyId, address_of, bytes32
from wardround.transport.processes import with_descendants
from wardround_simulations.live.record import read_processes
from wardround_simulations.scenario import load_scenario

#: Who is killed in turn, and by what its command line is known: of the active coordinator,
_ACTIVES = {
    "ServerApp": "flwr-serverapp",
    "SuperLink": "wardround.transport.flower.superlink",
    "coordinator run": "wardround coordinator run",
    "door": "wardround_coordinator.door",
}
#: and of the whole network.
_OTHERS = {
    "guard": "wardround site guard",
    "SuperNode": "wardround_client.supernode",
    "site run": "wardround site run",
    "anvil": "/bin/anvil",
    "chain's keeper": "wardround_simulations.live.chain",
}
#: All of the active coordinator's processes, and its folder is away until the standby took over.
LOST = "active coordinator lost, standby took over"
VICTIMS = [LOST, *_ACTIVES, *_OTHERS]
#: What a coordinator logs when it is started, and when it is ready.
_STARTED, _THERE = "sites reach this coordinator", ("going on with round", "standing by for")
SITES, STANDBYS = 2, 1
T = TypeVar("T")
ROUND_SECONDS, GRACE_SECONDS = 120, 15
#: So that a round is as short as it gets.
LOCAL_EPOCHS = 1
_WARM_ROUNDS = 3
_LOOK_SECONDS = 0.1
_START_SECONDS = 600.0
_RECOVER_SECONDS = 600.0
_END_SECONDS = 120.0

_SCENARIO = """\
about = "Small, so that rounds are short."

[study]
name = "chaos"
rounds = {rounds}
seed = 5

[model]
name = "logistic"
arguments = {{ features = 6 }}

[training]
learning_rate = {rate}
batch_size = 8
local_epochs = {epochs}

[aggregation]
min_sites = {sites}

[rewards]
per_round = "1000"

[chain]
round_seconds = {round_seconds}
grace_seconds = {grace_seconds}
registration_seconds = 12
bond = "50"

[data]
name = "generated"
arguments = {{ sites = {sites}, rows = 40, test_rows = 20, features = 6 }}
"""


@dataclass(frozen=True)
class _Begun:
    """When something was done, to which round, and when that was opened, in seconds since 1970."""

    head: int
    opened_at: int
    at: float


@dataclass
class Watched:
    """A network that runs, seen through its chain and its process tree."""

    process: subprocess.Popen[bytes]
    root: Path
    chain: Chain
    contract: WardRound
    study: StudyId
    rounds: int
    #: Names of the coordinators' folders by address.
    coordinators: dict[str, str]

    def head(self) -> int:
        """The open round; the chain may be away, and is gone when all is over."""
        return self._asked(lambda state: state.head, self.rounds + 1)

    def begin(self) -> _Begun:
        """Note which round something is done to."""
        over = (self.rounds + 1, int(time.time()))
        head, opened_at = self._asked(lambda state: (state.head, state.opened_at), over)
        return _Begun(head, opened_at, time.time())

    def recovered(self, begun: _Begun, what: str, deaths: int) -> Outcome:
        """Wait until the round and the next one are closed; return what it took.

        The next one too, because the round may be closed by what was under way already: a
        ServerApp outlives its `coordinator run` by seconds.
        """
        self.wait_past(min(begun.head, self.rounds), what)
        recovered_at = time.time()
        self.wait_past(min(begun.head + 1, self.rounds), what)
        now, passed = time.time(), self.head() - begun.head
        return Outcome(what, "", deaths, recovered_at - begun.at, now - begun.opened_at, passed)

    def active(self) -> str:
        """The name of the active coordinator."""
        return self._asked(lambda state: self.coordinators[state.coordinator], "")

    def _asked(self, answer: Callable[[StudyState], T], when_over: T) -> T:
        deadline = time.monotonic() + _END_SECONDS
        while True:
            try:
                return answer(self.contract.study(self.study))
            except (ChainError, OSError):
                if self.process.poll() is not None:
                    return when_over
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_SECONDS)

    def wait_past(self, head: int, what: str) -> float:
        """Wait until a later round is open; when that was."""
        deadline = time.monotonic() + _RECOVER_SECONDS
        while self.head() <= head:
            if time.monotonic() > deadline:
                raise NotRecovered(what, _RECOVER_SECONDS)
            time.sleep(_LOOK_SECONDS)
        return time.monotonic()

    def tree_of(self, coordinator: str) -> list[int]:
        """`coordinator run` of one of them, and all that it started; empty while it is away."""
        mark = read_processes(self.root).get(coordinator)
        return [] if mark is None else [one.pid for one in with_descendants([mark.pid])]

    def find(self, name: str) -> list[int]:
        """The processes that go by a victim's name now."""
        if name in _ACTIVES:
            return self.matching(_ACTIVES[name], self.tree_of(self.active()))
        everybody = [one.pid for one in with_descendants([self.process.pid])]
        return self.matching(_OTHERS[name], everybody)

    def is_there(self, coordinator: str) -> bool:
        """Whether a coordinator is active or standby, and not just being started."""
        if not self.matching(_ACTIVES["ServerApp"], self.tree_of(coordinator)):
            return False  # its last line is from before it was lost
        log = self.root / "logs" / f"{coordinator}.log"
        text = log.read_text("utf-8", errors="replace").rpartition(_STARTED)[2]
        return any(words in text for words in _THERE)

    def matching(self, pattern: str, pids: Iterable[int]) -> list[int]:
        """Those of some processes whose command line has a pattern."""
        found = []
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                if pattern in " ".join(psutil.Process(pid).cmdline()):
                    found.append(pid)
        return found


def play_live(
    folder: Path, kills: int, seed: int, say: Callable[[str], None], epochs: int = LOCAL_EPOCHS
) -> Leg:
    """Kill processes of a network under Flower, one after the other.

    Args:
        folder: new.
        kills: how many processes die.
        seed: of their order and the moments.
        say: callback for progress lines.
        epochs: of each site's training in each round.
    """
    folder.mkdir(parents=True)
    started = time.monotonic()
    victims = _victims(kills, random.Random(seed))
    # The round until the moment of each kill, that of the kill, and the next.
    rounds = _WARM_ROUNDS + 3 * kills + 2
    file = folder / "chaos.toml"
    file.write_text(scenario_text(rounds, SITES, epochs), encoding="utf-8")
    scenario, _ = load_scenario(str(file))
    expected = undisturbed(scenario, folder / "undisturbed")
    root = folder / "network"
    command = ["wardround.host.lifeline", "wardround", "network", "up", str(root)]
    course = Course()
    with (folder / "network.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--scenario", str(file), "--standbys", str(STANDBYS)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            watched = watch(process, root, rounds)
            try:
                _disturb(watched, course, victims, random.Random(seed), say)
                _end(process)
            except NotRecovered as error:
                return Leg(course, Verdict(broken=[str(error)]), time.monotonic() - started)
            finally:
                watched.chain.close()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(_END_SECONDS)
    return Leg(course, _judged(root, expected), time.monotonic() - started)


def scenario_text(rounds: int, sites: int, epochs: int = LOCAL_EPOCHS) -> str:
    """A scenario's file: a small study whose rounds are short."""
    return _SCENARIO.format(
        rounds=rounds,
        sites=sites,
        epochs=epochs,
        rate=learning_rate(epochs),
        round_seconds=ROUND_SECONDS,
        grace_seconds=GRACE_SECONDS,
    )


def watch(process: subprocess.Popen[bytes], root: Path, rounds: int) -> Watched:
    """Wait until a network is up, and look at it from outside.

    Raises:
        ScenarioError: it did not come up.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not (root / "network.json").is_file():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ScenarioError(str(root), "the network did not come up; see network.log")
        time.sleep(_LOOK_SECONDS)
    file = read_network(root)
    chain = open_chain(file.chain, file.chain_id)
    study = StudyId(bytes32(file.study, "study"))
    folders = Folders(root)
    homes = [folders.coordinator, *(folders.standby(number + 1) for number in range(STANDBYS))]
    coordinators: dict[str, str] = {
        read_key(home / "coordinator.key").address: home.name for home in homes
    }
    contract = WardRound(chain, file.contract)
    return Watched(process, root, chain, contract, study, rounds, coordinators)


def _victims(kills: int, draw: random.Random) -> list[str]:
    """Draw who dies, in turn; a lost coordinator is among them, however few they are."""
    found: list[str] = []
    while len(found) < kills:
        found += draw.sample(VICTIMS, len(VICTIMS))
    found = found[:kills]
    if LOST not in found:
        found[draw.randrange(kills)] = LOST
    return found


def _disturb(
    watched: Watched,
    course: Course,
    victims: list[str],
    draw: random.Random,
    say: Callable[[str], None],
) -> None:
    moments = [watched.wait_past(number, "the start") for number in range(1, _WARM_ROUNDS + 2)]
    course.calm_rounds = [later - earlier for earlier, later in pairwise(moments)]
    for number, name in enumerate(victims, 1):
        # One death at a time: who was lost before has come back, so that its start, which takes
        # half a minute of both cores, is not counted for the next, and it can take over.
        for coordinator in watched.coordinators.values():
            _until(partial(watched.is_there, coordinator))
        time.sleep(draw.uniform(0, course.round_seconds))
        if watched.head() >= watched.rounds:
            course.left_out.append(f"{len(victims) - number + 1} more: the study was over")
            break
        outcome = _lose(watched) if name == LOST else _kill(watched, name, draw)
        if outcome is None:
            course.left_out.append(f"{name}: it does not run")
            continue
        course.outcomes.append(outcome)
        say(f"{number}/{len(victims)} {outcome.what}: {outcome.recovery_seconds:.1f} s")
    watched.wait_past(watched.rounds, "the last kill")
    course.rounds = watched.rounds


def _kill(watched: Watched, name: str, draw: random.Random) -> Outcome | None:
    """Kill one process; None when there is none of that name."""
    found = _until(lambda: watched.find(name))
    if not found:
        return None
    begun = watched.begin()
    os.kill(draw.choice(found), signal.SIGKILL)
    return watched.recovered(begun, f"{name} killed", 1)


def _lose(watched: Watched) -> Outcome | None:
    """Kill all of the active coordinator's processes, and take its folder away for a while."""
    name = watched.active()
    tree = _until(lambda: watched.tree_of(name))
    if not tree:
        return None
    begun = watched.begin()
    for pid in tree:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # A restart finds no folder: its machine is gone.
    folder = watched.root / name
    away = folder.rename(folder.with_name(f"{name}-away"))
    try:
        if not _until(lambda: watched.active() != name, _RECOVER_SECONDS):
            raise NotRecovered("the active coordinator was lost", _RECOVER_SECONDS)
        outcome = watched.recovered(begun, LOST, len(tree))
    finally:
        away.rename(folder)
    return outcome


def _until(found: Callable[[], T], seconds: float = _END_SECONDS) -> T:
    """Look until something is found, or time is up."""
    deadline = time.monotonic() + seconds
    while not (one := found()) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return one


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotRecovered("the study's end: the network did not end", _END_SECONDS) from None


def _judged(root: Path, expected: Expected) -> Verdict:
    with open_run(root, to_append=True) as run:
        sites = {name: address_of(address) for name, address in run.file.sites.items()}
        subject = Subject(
            run.contract,
            run.study,
            sites,
            read_key(root / "sponsor.key"),
            [run.folders.sites / name for name in sites],
            str(run.folders.store),
        )
        return judge(subject, expected)
