"""A round on separate processes: beside plain Flower's, and beside the same round in one process.

A chain, a coordinator with SuperLink and door, sites with guard, SuperNode and executor, as
`wardround network up` starts them; one site, so that nothing waits for another, and four. Plain
Flower averages as large a model, trained alike, with its own programs and settings
(`benchmarks.plain`): without TLS, a chain, signatures or a record.

Where the time goes: the study of one site runs in one process too, and again on processes with a
model of 31 parameters, whose transfer costs nothing.

Ours of the difference is the guard: what it checks, signs and syncs, and what it takes to ask it.
Verifying, summing and the chain are in both, and so in neither part.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figure import Detail, Figure, Result, Target
from benchmarks.network import Shape, prepared
from benchmarks.plain import round_seconds
from benchmarks.stopwatch import Stopwatch
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import genesis_closing
from wardround.protocol.report import parse_report
from wardround.store import FolderStore
from wardround_client.guard.client import GuardClient
from wardround_simulations.live.layout import make_parties
from wardround_simulations.live.run import LiveNetwork
from wardround_simulations.run import simulate

_MILLION = Shape(sites=1, rounds=6, rows=64, features=100, hidden=(950, 950))
_FOUR = replace(_MILLION, sites=4)
_PLAIN_ROUNDS = 4
_TINY = Shape(sites=1, rounds=6, rows=64)
_ROUND_SECONDS = 2.0
_LIMIT_SECONDS = 900.0
_ANSWERED = re.compile(r"answered after ([\d.]+) s")


@dataclass(frozen=True)
class Rounds:
    """Seconds a round, the first left out: it starts processes and fills caches.

    Attributes:
        whole: as the coordinator counts it, training and measuring.
        tasks: that a site's processes took for both; with several sites, about.
        training: of these, as the sites' own reports state it.
    """

    whole: float
    tasks: float
    training: float


def measure(quick: bool) -> Result:
    """Measure both ways of running; quick: a model of 31 parameters, four rounds."""
    shape = Shape(sites=1, rounds=4, rows=16) if quick else _MILLION
    tiny = Shape(sites=1, rounds=4, rows=16) if quick else _TINY
    with TemporaryDirectory(prefix="wardround-bench-") as name:
        folder = Path(name)
        alone = _alone(shape, folder / "alone")
        live = _live(shape, folder / "live")
        figures = [_beside_plain(shape, live.whole, folder / "plain", quick)]
        if not quick:
            four = _live(_FOUR, folder / "live-four").whole
            figures.append(_beside_plain(_FOUR, four, folder / "plain-four", quick))
        small = live if quick else _live(tiny, folder / "small")
        small_alone = alone if quick else _alone(tiny, folder / "small-alone")
    guard = _guard_seconds(shape)
    cost = max(live.whole - alone, 1e-6)
    # What a task takes beyond training and the guard: a fork, unpacking, imports, the table.
    starting = live.tasks - live.training - guard
    # Verifying, summing and the chain are in both.
    waits = (small.whole - small.tasks) - (small_alone - small.training)
    transfer = cost - starting - guard - waits
    return Result(
        figures=[
            *figures,
            Figure(
                f"a round on processes, {_words(shape)}",
                ours=live.whole,
                peer=alone,
                peer_name="in one process",
                unit="s",
            ),
            Figure(
                "ours of what that costs more",
                ours=guard,
                peer=cost,
                peer_name="all of it",
                unit="s",
                target=Target(0.1, at_most=True),
            ),
        ],
        details={
            "a round's cost over one process": [
                Detail("Flower's waits and its other processes", waits, "s"),
                Detail("tasks: fork, unpack, import, read the table", starting, "s"),
                Detail("transfer of models and updates, and what differs otherwise", transfer, "s"),
                Detail("ours: the guard asked, checking, signing, syncing", guard, "s"),
                Detail("together", cost, "s"),
            ]
        },
    )


def _words(shape: Shape) -> str:
    parameters = "1,000,351" if shape.hidden else f"{shape.features + 1}"
    return f"{parameters} parameters, {'one site' if shape.sites == 1 else f'{shape.sites} sites'}"


def _beside_plain(shape: Shape, ours: float, folder: Path, quick: bool) -> Figure:
    # The first round of several is left out; a quick look has no time for a second.
    plain = round_seconds(replace(shape, rounds=1 if quick else _PLAIN_ROUNDS), folder)
    return Figure(
        f"a deployed round, {_words(shape)}",
        ours=ours,
        peer=plain,
        peer_name="plain Flower",
        unit="s",
        target=Target(_ROUND_SECONDS, at_most=True),
        absolute=True,
    )


def _alone(shape: Shape, folder: Path) -> float:
    results = simulate(shape.scenario(), "", folder)
    return median(row["wall_seconds"] for row in _steady(results.rounds))


def _steady(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the first two rounds, which start processes, and the last, which measures twice."""
    return rounds[2:-1]


def _live(shape: Shape, folder: Path) -> Rounds:
    taken: list[float] = []

    def note(who: str, words: str) -> None:
        if found := _ANSWERED.match(words):
            taken.append(float(found[1]))

    stopped = threading.Event()
    network = LiveNetwork(folder, note, lambda: datetime.now(UTC), stopped)
    limit = threading.Timer(_LIMIT_SECONDS, stopped.set)
    limit.start()
    try:
        results = network.run(shape.scenario(), "", None)
    finally:
        limit.cancel()
    if results is None:
        raise TimeoutError(f"the network did not finish in {_LIMIT_SECONDS:g} s")
    # The last answers are the last model's measures; before them one a site and round.
    answers = taken[-shape.sites * (shape.rounds - 1) : -2 * shape.sites]
    rounds = _steady(results.rounds)
    return Rounds(
        whole=median(row["wall_seconds"] for row in rounds),
        tasks=median(answers),
        training=median(_reported(folder, rounds)),
    )


def _reported(folder: Path, rounds: list[dict[str, Any]]) -> list[float]:
    """Read from the store the training times that the site reported."""
    store = FolderStore(folder / "store")
    seconds = []
    wanted = {row["round"] for row in rounds}
    for cid in store.cids():
        data = store.get(cid)
        if not data.startswith(b'{"code"'):
            continue
        report = parse_report(data)
        if report.round in wanted:
            seconds.append(report.seconds)
    return seconds


def _guard_seconds(shape: Shape) -> float:
    """Seconds that the guard adds to a round's training: its checks, and the way there and back."""
    watch = Stopwatch()
    with prepared(shape.scenario()) as network:
        make_parties(network, datetime.now(UTC))
        party = network.parties[0]
        with network.guarded(lambda: int(time.time()), at_sockets=True):
            spec = canonical_bytes(network.scenario.specification.document())
            closing = genesis_closing(network.params.initial_model)
            task = TrainTask(network.params, closing, 1, spec)
            base = network.initial.values
            started = time.perf_counter()
            with watch.watching({"training": ["wardround.learning.training:train_locally"]}):
                GuardClient(network.home(party).socket).train(task, base)
            whole = time.perf_counter() - started
    return whole - watch.seconds["training"]
