"""What the whole protocol adds to training: fixed point, hashes, signatures, store, chain.

Ours is a study from its first message to its last, in process, as `wardround simulate` runs it.
The peer is the same training without any of it: no Flower, no protocol, no disk; the same
networks and rows, trained one site after the other, float32 weights averaged in memory,
and the new model measured on the same test rows. Where other work disturbs the machine, the two
runs differ by more than the protocol costs; the second figure therefore compares one run with the
parts of it that training alone has too. What happens once a study, before its first
round (deploying the contract, admitting sites), is shown beside it.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter, process_time, time

import numpy as np

from benchmarks.figure import Detail, Figure, Result, Target, per_part
from benchmarks.network import MILLION, Shape, prepared
from benchmarks.stopwatch import Stopwatch
from wardround.learning.metrics import evaluate
from wardround.learning.models import build_model, flatten
from wardround.learning.training import train_locally
from wardround.protocol.fixed_point import Float32Vector
from wardround_coordinator.server_app import make_server_app
from wardround_simulations.client_app import app as client_app
from wardround_simulations.engines import run_in_process
from wardround_simulations.network import Network
from wardround_simulations.scenario import Scenario, load_scenario

#: What training alone does as well.
LEARNING = ("training", "measuring the new model", "building networks")
PARTS = {
    LEARNING[0]: ["wardround.learning.training:train_locally"],
    LEARNING[1]: [
        "wardround.learning.metrics:evaluate",
        "wardround.learning.metrics:predict_classes",
        "wardround.learning.privacy.counts:histogram",
    ],
    LEARNING[2]: ["wardround.learning.models:build_model"],
    "fixed point": [
        "wardround.protocol.fixed_point:dequantize",
        "wardround.protocol.fixed_point:quantize_update",
        "wardround.protocol.fixed_point:add_exact",
        "wardround.protocol.fixed_point:largest_magnitude",
        "wardround.protocol.fixed_point:vector_bytes",
    ],
    "vector roots": ["wardround.protocol.merkle:vector_root"],
    "content identifiers": ["wardround.protocol.cid:cid_of"],
    "signing": ["wardround.protocol.contribution:Contribution.sign"],
    "checking signatures": ["wardround.protocol.contribution:Contribution.check_signature"],
    "verifying, the rest": ["wardround_coordinator.verification:verify_reply"],
    "syncing to disk": ["os:fsync"],
    "store, the rest": [
        "wardround.store.folder:FolderStore.put",
        "wardround.store.folder:FolderStore.get",
        "wardround.store.folder:FolderStore.map",
    ],
    "aggregating": [
        "wardround.protocol.rules:RunningMean.__init__",
        "wardround.protocol.rules:RunningMean.add",
        "wardround.protocol.rules:RunningMean.finish",
    ],
    "settling, the rest": ["wardround.protocol.settlement:settle"],
    "chain": [
        "wardround.chain.chain:Chain.send",
        "wardround.chain.chain:Chain.call",
        "wardround.chain.chain:Chain.logs",
        "wardround.chain.ward_round:WardRound.close_round",
        "wardround.chain.ward_round:WardRound.closed_rounds",
        "wardround.chain.ward_round:WardRound.facts",
    ],
    "site, the rest": [
        "wardround_client.guard.guard:Guard.decide",
    ],
    "reading tables": ["wardround_client.guard.tables:load_home_data"],
    "messages": [
        "wardround.transport.flower.grid:InProcessGrid.push_messages",
        "wardround.transport.flower.grid:InProcessGrid._answer",
        "flwr.clientapp:ClientApp.__call__",
    ],
}


@dataclass(frozen=True)
class _Run:
    """One pair of runs: the plain one, then the whole protocol on the same rows."""

    plain_seconds: float
    plain_cpu_seconds: float
    ours_seconds: float
    ours_cpu_seconds: float
    preparing_seconds: float
    parts: dict[str, float]


def measure(quick: bool) -> Result:
    """Measure the million-parameter network, then the tiny one on the bundled data."""
    if quick:
        large = Shape(sites=3, rows=64, features=10, hidden=(16,)).scenario()
    else:
        large = replace(MILLION, rows=10_000, rounds=2).scenario()
    demo, _ = load_scenario("demo")
    _compare(demo)  # imports and first uses count for neither side
    large_runs = [_compare(large) for _ in range(1 if quick else 2)]
    tiny_runs = [_compare(demo) for _ in range(1 if quick else 3)]
    title = (
        "3 sites, toy size" if quick else "10 sites x 10,000 rows, 1,000,351 parameters, 2 rounds"
    )
    limit = Target(1.10, at_most=True)
    return Result(
        figures=[
            _figure(f"study with the protocol: {title}", large_runs, limit),
            # Both numbers come from one run: whatever else the machine does touches them alike.
            replace(
                _figure(
                    "the same within one run: all of it, beside the parts that learn",
                    large_runs,
                    limit,
                ),
                peer=median(sum(run.parts[name] for name in LEARNING) for run in large_runs),
                peer_name="parts that learn",
            ),
            _figure("the same, demo: 4 sites, 31 parameters, 10 rounds", tiny_runs, None),
        ],
        details={f"parts: {title}": _details(large_runs), "parts: demo": _details(tiny_runs)},
    )


def _figure(what: str, runs: list[_Run], target: Target | None) -> Figure:
    return Figure(
        what,
        ours=median(run.ours_seconds for run in runs),
        peer=median(run.plain_seconds for run in runs),
        peer_name="training alone",
        unit="s",
        target=target,
    )


def _details(runs: list[_Run]) -> list[Detail]:
    parts = [(name, median(run.parts[name] for run in runs)) for name in PARTS]
    rows = per_part(parts, median(run.ours_seconds for run in runs))
    plain, ours = (
        median(run.plain_cpu_seconds for run in runs),
        median(run.ours_cpu_seconds for run in runs),
    )
    return [
        *rows,
        Detail("processor time with the protocol", ours, "s"),
        Detail("processor time of training alone", plain, "s"),
        Detail("once a study: tables, contract, sites", runs[-1].preparing_seconds, "s"),
    ]


def _compare(scenario: Scenario) -> _Run:
    gc.collect()
    started = perf_counter()
    with prepared(scenario) as network:
        preparing = perf_counter() - started
        started, cpu_started = perf_counter(), process_time()
        _train_plainly(network)
        plain, plain_cpu = perf_counter() - started, process_time() - cpu_started
        watch = Stopwatch()
        config = {"network": str(network.folders.root)}
        with watch.watching(PARTS):
            started, cpu_started = perf_counter(), process_time()
            with network.guarded(lambda: int(time())):
                run_in_process(make_server_app(), client_app, [{} for _ in network.parties], config)
            ours, ours_cpu = perf_counter() - started, process_time() - cpu_started
    return _Run(plain, plain_cpu, ours, ours_cpu, preparing, watch.seconds)


def _train_plainly(network: Network) -> Float32Vector:
    spec = network.scenario.specification
    seed = spec.study.seed
    weights = flatten(build_model(spec.model, spec.files, seed))
    for number in range(1, spec.study.rounds + 1):
        total, examples = np.zeros_like(weights), 0
        for party in network.parties:
            model = build_model(spec.model, spec.files, seed)
            # The sites' seeds are their guards' secrets; any other costs the same.
            result = train_locally(model, weights, party.data.train, spec.training, number)
            total += result.weights * np.float32(result.examples)
            examples += result.examples
        weights = total / np.float32(examples)
        for party in network.parties:
            model = build_model(spec.model, spec.files, seed)
            evaluate(model, weights, party.data.test, spec.training.threads)
    return weights
