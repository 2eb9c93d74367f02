"""Many rounds without any trouble: does a process keep what it should let go of?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.play import STANDBYS, chaos_scenario
from tests.chaos.run import NotRecovered
from tests.chaos.stand import Stand, stand_up

#: Memory that a process may gain for good: caches that fill, and what the allocator rounds up.
_SPARE_BYTES = 16 << 20
_SPARE_FILES = 4
_STALL_SECONDS = 180.0


@dataclass(frozen=True)
class Footprint:
    """What a process holds: bytes of memory, open files, threads."""

    memory: int
    files: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """A process early and late in a study."""

    name: str
    early: Footprint
    late: Footprint

    @property
    def grows(self) -> bool:
        """Whether it holds more than can be explained."""
        return (
            self.late.memory > self.early.memory + _SPARE_BYTES
            or self.late.files > self.early.files + _SPARE_FILES
            or self.late.threads > self.early.threads + _SPARE_FILES
        )


def footprint(pid: int) -> Footprint:
    """Look at a process of this machine."""
    process = psutil.Process(pid)
    return Footprint(process.memory_info().rss, process.num_fds(), process.num_threads())


def run_soak(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Growth]:
    """Run a study of so many rounds; look at its processes after a fifth of it and near its end."""
    # Two more, so that every process is still there for the last look.
    stand = stand_up(chaos_scenario(rounds + 2), folder, STANDBYS)
    try:
        _wait_for(stand, rounds // 5)
        early = _footprints(stand)
        say(f"round {rounds // 5}: {len(early)} processes")
        _wait_for(stand, rounds)
        late = _footprints(stand)
    finally:
        stand.close()
    return [Growth(name, early[name], late[name]) for name in early]


def soak_table(found: Sequence[Growth]) -> str:
    """Write a Markdown table."""
    lines = [
        "| process | memory early | late | open files early | late | threads early | late |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found:
        early, late = row.early, row.late
        lines.append(
            f"| {row.name} | {early.memory / 2**20:.1f} MiB | {late.memory / 2**20:.1f} MiB "
            f"| {early.files} | {late.files} | {early.threads} | {late.threads} |"
        )
    return "\n".join(lines)


def _footprints(stand: Stand) -> dict[str, Footprint]:
    pids = {name: actor.pid for name, actor in stand.troupe.actors.items()}
    pids["anvil"] = stand.anvil_pid()
    return {name: footprint(pid) for name, pid in pids.items() if pid is not None}


def _wait_for(stand: Stand, closed: int) -> None:
    seen, deadline = 0, time.monotonic() + _STALL_SECONDS
    while (head := stand.head()) <= closed:
        if head != seen:
            seen, deadline = head, time.monotonic() + _STALL_SECONDS
        if time.monotonic() > deadline:
            raise NotRecovered(f"round {head}", _STALL_SECONDS)
        time.sleep(0.05)
