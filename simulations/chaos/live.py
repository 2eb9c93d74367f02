"""Chaos on a network of real processes: SuperLink, SuperNodes, TLS, as `network up` starts them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ledger.chain import Chain, open_chain
from ledger.errors import ChainError
from ledger.finished import open_run, read_network
from ledger.key_file import read_key
from ledger.ward_round import WardRound
from protocol.errors import ScenarioError
from protocol.identifiers import StudyId, bytes32, site_address
from simulations.chaos.play import undisturbed
from simulations.chaos.promises import Expected, Subject, Verdict, judge
from simulations.chaos.report import Leg
from simulations.chaos.run import Course, NotRecovered, Outcome
from simulations.scenario import load_scenario
from transport.processes import with_descendants

#: Who is killed in turn, and by what its command line is known.
VICTIMS = {
    "ServerApp": "flwr-serverapp",
    "SuperLink": "coordinator.superlink",
    "guard": "client.guard",
    "SuperNode": "client.supernode",
    "coordinator run": "wardround coordinator run",
    "site run": "wardround site run",
    "anvil": "/bin/anvil",
    "chain's keeper": "simulations.live.chain",
    "door": "coordinator.door",
}
SITES = 2
ROUND_SECONDS, GRACE_SECONDS = 3600, 600
_WARM_ROUNDS = 2
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
learning_rate = 0.2
batch_size = 8
local_epochs = 1

[aggregation]
min_sites = {sites}

[rewards]
per_round = "1000"
scoring = "alignment"

[data]
name = "generated"
arguments = {{ sites = {sites}, rows = 40, test_rows = 20, features = 6 }}
"""


@dataclass
class _Watched:
    """A network that runs, seen through its chain and its process tree."""

    process: subprocess.Popen[bytes]
    chain: Chain
    contract: WardRound
    study: StudyId
    rounds: int

    def head(self) -> int:
        """The open round; the chain may be away, and is gone when all is over."""
        deadline = time.monotonic() + _END_SECONDS
        while True:
            try:
                return self.contract.study(self.study).head
            except (ChainError, OSError):
                if self.process.poll() is not None:
                    return self.rounds + 1
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

    def find(self, pattern: str) -> list[int]:
        """The processes of the network whose command line has a pattern."""
        found = []
        for mark in with_descendants([self.process.pid]):
            try:
                line = (Path("/proc") / str(mark.pid) / "cmdline").read_bytes()
            except OSError:
                continue
            if pattern in line.replace(b"\0", b" ").decode("utf-8", "replace"):
                found.append(mark.pid)
        return found


def play_live(folder: Path, kills: int, seed: int, say: Callable[[str], None]) -> Leg:
    """Kill processes of a network under Flower, one after the other.

    Args:
        folder: new.
        kills: how many processes die.
        seed: of their order and the moments.
        say: told what happens.
    """
    folder.mkdir(parents=True)
    started = time.monotonic()
    rounds = kills + _WARM_ROUNDS + 2
    file = folder / "chaos.toml"
    file.write_text(_SCENARIO.format(rounds=rounds, sites=SITES), encoding="utf-8")
    scenario, _ = load_scenario(str(file))
    expected = undisturbed(scenario, folder / "undisturbed")
    root = folder / "network"
    command = ["transport.lifeline", "wardround", "network", "up", str(root)]
    course = Course()
    with (folder / "network.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--scenario", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            watched = _watch(process, root, rounds)
            try:
                _disturb(watched, course, kills, random.Random(seed), say)  # noqa: S311
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


def _watch(process: subprocess.Popen[bytes], root: Path, rounds: int) -> _Watched:
    deadline = time.monotonic() + _START_SECONDS
    while not (root / "network.json").is_file():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ScenarioError(str(root), "the network did not come up; see network.log")
        time.sleep(_LOOK_SECONDS)
    file = read_network(root)
    chain = open_chain(file.chain, file.chain_id)
    study = StudyId(bytes32(file.study, "study"))
    return _Watched(process, chain, WardRound(chain, file.contract), study, rounds)


def _disturb(
    watched: _Watched, course: Course, kills: int, draw: random.Random, say: Callable[[str], None]
) -> None:
    moments = [watched.wait_past(number, "the start") for number in range(1, _WARM_ROUNDS + 2)]
    course.calm_rounds = [later - earlier for earlier, later in pairwise(moments)]
    order: list[str] = []
    for number in range(1, kills + 1):
        if not order:
            order = draw.sample(sorted(VICTIMS), len(VICTIMS))
        name = order.pop()
        time.sleep(draw.uniform(0, course.round_seconds))
        found = watched.find(VICTIMS[name])
        deadline = time.monotonic() + _END_SECONDS
        while not found and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            found = watched.find(VICTIMS[name])
        if not found:
            course.left_out.append(f"{name}: it does not run")
            continue
        head, killed_at = watched.head(), time.monotonic()
        os.kill(draw.choice(found), signal.SIGKILL)
        recovery = watched.wait_past(min(head, watched.rounds), f"{name} was killed") - killed_at
        course.outcomes.append(Outcome(f"{name} killed", "", 1, recovery))
        say(f"{number}/{kills} {name} killed: recovered in {recovery:.1f} s")
    watched.wait_past(watched.rounds, "the last kill")
    course.rounds = watched.rounds


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotRecovered("the study's end: the network did not end", _END_SECONDS) from None


def _judged(root: Path, expected: Expected) -> Verdict:
    with open_run(root, to_append=True) as run:
        sites = {name: site_address(address) for name, address in run.file.sites.items()}
        subject = Subject(
            run.contract,
            run.study,
            sites,
            read_key(root / "sponsor.key"),
            [run.folders.sites / name for name in sites],
            str(run.folders.store),
        )
        return judge(subject, expected)
