"""What the sandbox costs a round: each site trains and measures, confined and in process.

Ours is a hospital's way: rows and vectors go through a socket to a child of the warm process, which
confines itself, computes and answers. The peer is the same job in this process. Both take turns
site by site, so that whatever else the machine does touches them alike. Starting the warm process
is paid once, when a site starts, and is shown beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from benchmarks.figure import Detail, Figure, Result, Target, seconds_of
from benchmarks.network import MILLION, Shape
from wardround.host.sandbox.machine import offered
from wardround.learning.initial import initial_model
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.fixed_point import Int32Vector
from wardround_client.home import Home
from wardround_client.settings import PolicyTable
from wardround_client.trainer.base import PredictJob, Trainer, TrainJob
from wardround_client.trainer.local import LocalTrainer
from wardround_client.trainer.sandboxed import SandboxedTrainer
from wardround_client.trainer.start import sandbox_of


def measure(quick: bool) -> Result:
    """Measure a round of ten sites with a million parameters each."""
    shape = replace(MILLION, rows=10_000)
    if quick:
        shape = Shape(sites=2, rows=64, features=10, hidden=(16,))
    specification = canonical_bytes(shape.scenario().specification.document())
    base = initial_model(shape.scenario().specification).values
    jobs = [_jobs(specification, base, shape, site) for site in range(shape.sites)]
    tiny = replace(shape, rows=32)
    empty, _ = _jobs(specification, base, tiny, 0)
    policy = PolicyTable(sandbox="required" if offered().is_enough else "none")
    with TemporaryDirectory() as home:
        sandbox = sandbox_of(Home(Path(home)), policy)
        started = perf_counter()
        ours, peer = SandboxedTrainer("the trainer", sandbox, print), LocalTrainer()
        try:
            ours.train(empty)
            starting = perf_counter() - started
            peer.train(empty)  # first uses count for neither side
            rounds = [_round(ours, peer, jobs) for _ in range(1 if quick else 3)]
            one = [seconds_of(lambda: ours.train(empty)) for _ in range(3 if quick else 11)]
            other = [seconds_of(lambda: peer.train(empty)) for _ in range(3 if quick else 11)]
        finally:
            ours.close()
    title = f"{shape.sites} sites x {shape.rows:,} rows, {base.size:,} parameters"
    return Result(
        figures=[
            Figure(
                f"round in the sandbox: {title}",
                ours=median(pair[0] for pair in rounds),
                peer=median(pair[1] for pair in rounds),
                peer_name="the same in process",
                unit="s",
                target=Target(1.05, at_most=True),
            )
        ],
        details={
            f"walls: {offered().words()}": [
                Detail("a job of one batch in the sandbox", median(one), "s"),
                Detail("the same in process", median(other), "s"),
                Detail("once a start: the warm process", starting, "s"),
            ]
        },
    )


def _round(
    ours: Trainer, peer: Trainer, jobs: list[tuple[TrainJob, PredictJob]]
) -> tuple[float, float]:
    """Seconds of each trainer for all sites, who goes first changing from site to site."""
    seconds = [0.0, 0.0]
    for site, pair in enumerate(jobs):
        for which in (0, 1) if site % 2 else (1, 0):
            work = _work((ours, peer)[which], *pair)
            seconds[which] += seconds_of(work)
    return seconds[0], seconds[1]


def _work(trainer: Trainer, train: TrainJob, predict: PredictJob) -> Callable[[], object]:
    return lambda: (trainer.train(train), trainer.predict(predict))


def _jobs(
    specification: bytes, base: Int32Vector, shape: Shape, site: int
) -> tuple[TrainJob, PredictJob]:
    random = np.random.default_rng([7, site])
    features = random.standard_normal((shape.rows, shape.features), np.float32)
    labels = (features[:, 0] > 0).astype(np.int64)
    tests = features[: max(1, shape.rows // 10)]
    return (
        TrainJob(specification, base, features, labels, seed=site),
        PredictJob(specification, base, tests, classes=2),
    )
