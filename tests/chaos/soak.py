"""Hours of rounds without any trouble: does anything keep what it should let go of?"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from tests.chaos import live
from wardround.protocol.errors import ScenarioError
from wardround.transport.processes import with_descendants
from wardround_simulations.live.record import read_processes

SITES, STANDBYS = 2, 1
#: More than are closed in days, so that the study does not end before its time is over.
_ROUNDS = 1_000_000
#: Slopes are of what comes after this share of the time: caches fill before.
_WARM_SHARE = 0.25
#: A task's process lives for a second; slopes are of those that stay.
_OLD_SECONDS = 60.0
_END_SECONDS = 120.0
_HOURS = 48.0

#: Anvil keeps every block in memory, in place of a chain that others run.
DEVELOPMENT_CHAIN = "chain anvil"
#: By what a process is known in its command line, and its name for people.
_ROLES = {
    "flwr-serverapp": "ServerApp",
    "wardround.transport.flower.superlink": "SuperLink",
    "wardround_coordinator.door": "door",
    "wardround site guard": "guard",
    "wardround_client.supernode": "SuperNode",
    "wardround.transport.flower.executor": "executor",
    "bin/anvil": "anvil",
}


@dataclass(frozen=True)
class Holding:
    """What a process or a folder holds: bytes of memory or of disk, open files, threads."""

    memory: int = 0
    disk: int = 0
    files: int = 0
    threads: int = 0

    def __add__(self, other: Holding) -> Holding:
        """Hold both: of processes with one name."""
        return Holding(
            self.memory + other.memory,
            self.disk + other.disk,
            self.files + other.files,
            self.threads + other.threads,
        )


#: What matters when it is gained in two days: of a process, or of a folder.
MATTERS = Holding(memory=512 << 20, disk=8 << 30, files=256, threads=64)
UNITS = {"memory": "MiB", "disk": "MiB", "files": "files", "threads": "threads"}


@dataclass(frozen=True)
class Sample:
    """A network at one moment: seconds since the start, closed rounds, and who holds what."""

    seconds: float
    rounds: int
    held: Mapping[str, Holding]


@dataclass(frozen=True)
class Slope:
    """What one process or folder gains.

    Attributes:
        what: its name.
        kind: a field of `Holding`.
        first: when it is warm.
        last: at the end.
        hourly: by least squares over all samples in between.
    """

    what: str
    kind: str
    first: float
    last: float
    hourly: float

    @property
    def in_two_days(self) -> float:
        """What that comes to in 48 hours."""
        return self.hourly * _HOURS

    @property
    def matters(self) -> bool:
        """Whether a machine would notice after 48 hours."""
        return self.in_two_days > float(getattr(MATTERS, self.kind))


def slopes(samples: Sequence[Sample]) -> list[Slope]:
    """Fit a line to everything that a process or folder holds, once it is warm.

    Args:
        samples: in order, at least three of them after the first quarter of the time.
    """
    warm = [one for one in samples if one.seconds >= _WARM_SHARE * samples[-1].seconds]
    found = []
    for name in sorted(set.intersection(*(set(one.held) for one in warm))):
        hours = np.array([one.seconds for one in warm]) / 3600
        for kind in UNITS:
            values = np.array([float(getattr(one.held[name], kind)) for one in warm])
            if values.any():
                hourly = float(np.polyfit(hours, values, 1)[0])
                found.append(Slope(name, kind, values[0], values[-1], hourly))
    return found


def slopes_table(found: Sequence[Slope]) -> str:
    """Write a Markdown table, memory and disk in MiB."""
    lines = [
        "| who | what | warm | at the end | an hour | in 48 hours |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(found, key=lambda row: list(UNITS).index(row.kind)):
        scale, digits = (2**20, 1) if UNITS[row.kind] == "MiB" else (1, 0)
        first, last = (f"{value / scale:,.{digits}f}" for value in (row.first, row.last))
        hourly, gained = (f"{value / scale:+,.1f}" for value in (row.hourly, row.in_two_days))
        mark = " **!**" if row.matters else ""
        unit = UNITS[row.kind] if UNITS[row.kind] == row.kind else f"{row.kind}, {UNITS[row.kind]}"
        lines.append(f"| {row.what} | {unit} | {first} | {last} | {hourly} | {gained}{mark} |")
    return "\n".join(lines)


def run_soak(
    folder: Path, hours: float, say: Callable[[str], None], every_seconds: float = 60.0
) -> list[Sample]:
    """Run a network as `wardround network up` does, and look at it now and then.

    Args:
        folder: new. What is seen is also written to ``samples.csv`` there, line by line.
        hours: how long.
        say: callback for progress lines.
        every_seconds: between two looks.
    """
    folder.mkdir(parents=True)
    file, root = folder / "soak.toml", folder / "network"
    file.write_text(live.scenario_text(_ROUNDS, SITES), encoding="utf-8")
    command = ["wardround.host.lifeline", "wardround", "network", "up", str(root)]
    with (folder / "network.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--scenario", str(file), "--standbys", str(STANDBYS)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            watched = live.watch(process, root, _ROUNDS)
            try:
                return _look_on(watched, folder / "samples.csv", hours, say, every_seconds)
            finally:
                watched.chain.close()
        finally:
            process.terminate()
            process.wait(_END_SECONDS)


def _look_on(
    watched: live.Watched, table: Path, hours: float, say: Callable[[str], None], every: float
) -> list[Sample]:
    started, samples = time.monotonic(), list[Sample]()
    while (passed := time.monotonic() - started) < hours * 3600:
        time.sleep(every)
        if watched.process.poll() is not None:
            raise ScenarioError(str(watched.root), "the network has ended; see network.log")
        sample = Sample(passed, watched.head() - 1, _held(watched.root))
        samples.append(sample)
        write_sample(table, sample)
        memory = sum(one.memory for one in sample.held.values()) / 2**20
        say(f"{passed / 60:.0f} min: {sample.rounds} rounds, {memory:,.0f} MiB of memory")
    return samples


def _held(root: Path) -> dict[str, Holding]:
    found: dict[str, Holding] = defaultdict(Holding)
    for party, mark in read_processes(root).items():
        # The supervisor's descendants are all the others.
        pids = [one.pid for one in with_descendants([mark.pid])]
        for pid in pids[:1] if party == "network" else pids:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process = psutil.Process(pid)
                if time.time() - process.create_time() > _OLD_SECONDS:
                    found[f"{party} {_role(process.cmdline())}".strip()] += footprint(pid)
    for path in root.iterdir():
        name = f"{path.name}/" if path.is_dir() else "files beside the folders"
        found[name] += Holding(disk=_disk(path))
    return dict(found)


def footprint(pid: int) -> Holding:
    """Look at a process of this machine: of its memory, what it shares with no other."""
    process = psutil.Process(pid)
    return Holding(
        memory=process.memory_full_info().uss,
        files=process.num_fds(),
        threads=process.num_threads(),
    )


def _role(words: Iterable[str]) -> str:
    line = " ".join(words)
    return next((name for sign, name in _ROLES.items() if sign in line), "")


def _disk(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.lstat().st_blocks * 512
    return total


def write_sample(table: Path, sample: Sample) -> None:
    """Append a sample to a table, whose rows are of one process or folder each."""
    new = not table.exists()
    with table.open("a", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        if new:
            rows.writerow(["seconds", "rounds", "who", *UNITS])
        for name, one in sample.held.items():
            values = [one.memory, one.disk, one.files, one.threads]
            rows.writerow([f"{sample.seconds:.0f}", sample.rounds, name, *values])


def read_samples(table: Path) -> list[Sample]:
    """Read what a run has written, also one that was cut off."""
    found: dict[tuple[float, int], dict[str, Holding]] = defaultdict(dict)
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            held = Holding(**{kind: int(row[kind]) for kind in UNITS})
            found[float(row["seconds"]), int(row["rounds"])][row["who"]] = held
    return [Sample(seconds, rounds, held) for (seconds, rounds), held in found.items()]
