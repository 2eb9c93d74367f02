"""A whole chaos run: an undisturbed study, then disturbed ones, and what came of them."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.plan import Disturbance, Kill, plan
from tests.chaos.promises import Expected, Subject, Verdict, judge
from tests.chaos.report import Leg
from tests.chaos.run import Director, NotRecovered
from tests.chaos.stand import Stand, stand_up
from wardround.protocol.identifiers import SiteAddress
from wardround_simulations.run import simulate
from wardround_simulations.scenario import Scenario

SITES, STANDBYS = 3, 1
ROUND_SECONDS, GRACE_SECONDS = 12, 12
#: Of one study; more kills take more studies, since a restart reads all of a study's manifests.
KILLS_PER_STUDY = 70
#: So that a round is mostly training, as at a hospital, and takes longer than a restart.
LOCAL_EPOCHS = 300
_FEATURES = 6
_DISK_BYTES = 8 << 20

Say = Callable[[str], None]


def learning_rate(epochs: int) -> float:
    """A rate with which weights stay in range however long the sites train."""
    return 0.2 * min(1.0, LOCAL_EPOCHS / epochs)


def chaos_scenario(rounds: int, epochs: int = LOCAL_EPOCHS) -> Scenario:
    """The study that is disturbed: small, so that many rounds and deaths fit into minutes."""
    return Scenario.model_validate(
        {
            "study": {"name": "chaos", "rounds": rounds, "seed": 5},
            "model": {"name": "logistic", "arguments": {"features": _FEATURES}},
            "training": {
                "learning_rate": learning_rate(epochs),
                "batch_size": 8,
                "local_epochs": epochs,
            },
            "aggregation": {"min_sites": 2},
            "rewards": {"per_round": "1000"},
            "chain": {
                "round_seconds": ROUND_SECONDS,
                "grace_seconds": GRACE_SECONDS,
                "challenge_seconds": 3600,
                "bond": "50",
            },
            "data": {
                "name": "generated",
                "arguments": {
                    "sites": SITES,
                    "rows": 40,
                    "test_rows": 20,
                    "features": _FEATURES,
                },
            },
        }
    )


def undisturbed(scenario: Scenario, folder: Path) -> Expected:
    """Run the study as `wardround simulate` does, and read what it gives."""
    results = simulate(scenario, "", folder)
    network = json.loads((folder / "network.json").read_text("utf-8"))
    names = {address: name for name, address in network["sites"].items()}
    earned = results.summary["final"]["earned"]
    return Expected(
        tuple(one["model"] for one in results.rounds),
        {names[address.lower()]: int(amount) for address, amount in earned.items()},
    )


def play(
    folder: Path,
    kills: int,
    seed: int,
    say: Say,
    epochs: int = LOCAL_EPOCHS,
    confirmations: int = 0,
) -> Iterator[Leg]:
    """Disturb as many studies as it takes, and yield each when it is over.

    Args:
        folder: new; every study leaves its folder and its logs there.
        kills: how many processes die at least.
        seed: of everything that is drawn.
        say: callback for progress lines.
        epochs: of each site's training in each round.
        confirmations: that everybody waits for.
    """
    folder.mkdir(parents=True)
    disturbances = plan(kills, seed)
    legs = list(_legs(disturbances))
    rounds = 2 * max(map(len, legs)) + 6
    say(f"the same study undisturbed, {rounds} rounds")
    scenario = chaos_scenario(rounds, epochs)
    expected = undisturbed(scenario, folder / "undisturbed")
    for number, leg in enumerate(legs, 1):
        say(f"study {number} of {len(legs)}: {len(leg)} disturbances in {rounds} rounds")
        draw = random.Random(f"{seed}/{number}")
        root = folder / f"study-{number}"
        yield _play(root, leg, scenario, expected, draw, say, confirmations)


def _legs(disturbances: list[Disturbance]) -> Iterator[list[Disturbance]]:
    """Cut a plan into studies of some deaths each."""
    leg: list[Disturbance] = []
    deaths = 0
    for one in disturbances:
        leg.append(one)
        if isinstance(one, Kill):
            deaths += 1 if one.point is None else 2
        if deaths >= KILLS_PER_STUDY:
            yield leg
            leg, deaths = [], 0
    if leg:
        yield leg


def _play(
    root: Path,
    disturbances: list[Disturbance],
    scenario: Scenario,
    expected: Expected,
    draw: random.Random,
    say: Say,
    confirmations: int,
) -> Leg:
    started = time.monotonic()
    with _small_disk(root.with_name(f"{root.name}-disk")) as disk:
        stand = stand_up(scenario, root, STANDBYS, disk, confirmations)
        try:
            fill = None if disk is None else lambda: _filled(disk)
            director = Director(stand, draw, fill, lambda: _damaged(root / "store", draw), say)
            try:
                director.perform(disturbances)
                verdict = judge(subject_of(stand), expected)
            except NotRecovered as error:
                # The worst that there is to report, and what came before still counts.
                verdict = Verdict(broken=[str(error)])
        finally:
            stand.close()
            if disk is not None:
                # The disk goes, what was on it stays.
                root.joinpath("store").unlink()
                shutil.copytree(disk, root / "store")
    return Leg(director.course, verdict, time.monotonic() - started)


def subject_of(stand: Stand) -> Subject:
    """What `judge` looks at of a stand whose study is over."""
    network = stand.network
    return Subject(
        network.contract,
        network.study,
        {party.name: SiteAddress(party.account.address) for party in network.parties},
        network.keys.sponsor,
        stand.homes(),
        stand.store,
    )


def _damaged(store: Path, draw: random.Random) -> str:
    """Change a byte of one of the newest objects in the store's first copy; its kind by size."""
    objects = sorted(store.glob("b*"), key=lambda path: path.stat().st_mtime)[-8:]
    chosen = draw.choice(objects)
    data = bytearray(chosen.read_bytes())
    place = draw.randrange(len(data))
    data[place] ^= 1 << draw.randrange(8)
    chosen.write_bytes(data)
    return f"byte {place} of {len(data)}"


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of a few megabytes in memory; None where only root may mount one."""
    folder.mkdir()
    options = f"size={_DISK_BYTES},mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "wardround-chaos", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
        folder.rmdir()


def _filled(disk: Path) -> Callable[[], None]:
    """Fill a disk to its last byte; answer how to empty it."""
    filler = disk / ".filler"
    # Ever smaller, so that the last byte goes too.
    for size in (1 << 16, 1 << 10, 1):
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(size))
    return filler.unlink
